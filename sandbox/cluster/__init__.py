"""Docker, images, kind and Kubernetes: everything a sandbox in a cluster stands on."""
