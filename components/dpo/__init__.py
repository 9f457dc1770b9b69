"""Component of stage `dpo`."""
