"""Kubeflow components: one folder a stage, each a thin wrapper of the packaged library."""
