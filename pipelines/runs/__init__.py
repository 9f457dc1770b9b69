"""Runs on Kubeflow Pipelines: submitting, watching, pulling, scheduling."""
