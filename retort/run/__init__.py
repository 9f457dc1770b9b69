"""A run: the graph of its stages, the code they depend on, DVC, and the folder that holds it."""
