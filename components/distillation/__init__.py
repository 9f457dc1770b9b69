"""Component of stage `distillation`."""
