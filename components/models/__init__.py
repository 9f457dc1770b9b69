"""Component of stage `models`."""
