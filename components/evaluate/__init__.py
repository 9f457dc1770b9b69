"""Component of stage `evaluate`."""
