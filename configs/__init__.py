"""Configurations that come with Retort, one YAML file each; `--config NAME` takes them by name."""
