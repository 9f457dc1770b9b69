"""Component `refresh`."""
