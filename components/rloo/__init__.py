"""Component of stage `rloo`."""
