"""Component of stage `grpo`."""
