"""Component of stages that other packages bring."""
