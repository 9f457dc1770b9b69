"""What vLLM's own processes import of Retort; the folder is on their path, and vLLM is all that they have beside it."""
