"""On-policy distillation: the student answers, and learns the teacher's distribution after each token of its own."""
