"""Component of stage `prompts`."""
