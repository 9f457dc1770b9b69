"""Component of stage `reward`."""
