"""Component of stage `best_of`."""
