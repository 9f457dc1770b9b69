"""Component of stage `sft`."""
