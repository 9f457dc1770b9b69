"""A stand-in cluster for tests: Kubeflow Pipelines' API, Kubernetes' API and an S3 store, each a real HTTP server here.

The clients that talk to it are the real ones (kfp, kubernetes, s3fs). It keeps what it is told in memory and runs
nothing: a test says what became of a run. What it answers follows the sources of Kubeflow Pipelines 2.17 where the
commands depend on it: names that are not unique, times in whole seconds, pages, filters, refusals.
"""
