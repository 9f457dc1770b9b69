"""Component of stage `votes`."""
