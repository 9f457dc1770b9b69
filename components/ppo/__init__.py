"""Component of stage `ppo`."""
