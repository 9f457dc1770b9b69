"""Models, whatever they are trained for: loading, packing, log-probabilities, processes, checkpoints."""
