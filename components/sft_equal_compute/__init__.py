"""Component of stage `sft_equal_compute`."""
