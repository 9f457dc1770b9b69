"""The `retort` command: one file a verb; data on stdout, logs and progress on stderr."""
