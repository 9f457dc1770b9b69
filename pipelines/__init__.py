"""The Kubeflow graph: the same stages, edges and parameters as `dvc.yaml`."""
