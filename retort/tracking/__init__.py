"""Figures of a run at MLflow, TensorBoard or Weights & Biases, beside the files that every run has anyway.

A tracker decides nothing: what it is told is told from a thread of its own, and one that is away or refuses costs a
stage neither its result nor its time; what did not arrive is counted and said once.
"""
