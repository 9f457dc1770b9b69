"""Component of stage `student_responses`."""
