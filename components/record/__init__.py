"""Component `record`."""
