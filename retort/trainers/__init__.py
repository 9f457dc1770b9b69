"""Training methods: one folder a method."""
