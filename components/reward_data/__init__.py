"""Component of stage `reward_data`."""
