"""Rejection sampling: fine-tune on the responses that a reward likes best."""
