"""GRPO: group relative policy optimization against any reward."""
