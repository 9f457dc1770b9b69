"""Component that merges the fragments of several tasks."""
