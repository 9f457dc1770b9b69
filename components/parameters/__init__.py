"""Component `parameters`."""
