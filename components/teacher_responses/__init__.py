"""Component of stage `teacher_responses`."""
