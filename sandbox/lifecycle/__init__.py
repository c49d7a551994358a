"""Up, down, doctor: what acts on this machine itself."""
