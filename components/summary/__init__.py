"""Component `summary`."""
