"""Verbs of the retort command that need Kubeflow."""
