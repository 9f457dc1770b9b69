"""Component of stage `rejection`."""
