"""The sandbox's page: thin over its gateway."""
