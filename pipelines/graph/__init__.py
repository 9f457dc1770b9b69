"""The Kubeflow pipeline: built from the graph of stages, placed by a profile, compiled or run here."""
