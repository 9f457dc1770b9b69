"""Pseudo-labels: answers of the responses to a prompt, the majority among them, and how far to trust it."""
