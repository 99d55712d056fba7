"""The `tracker` command: a registry, and a module for each command."""
