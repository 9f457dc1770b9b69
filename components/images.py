"""The image that components name; a run's profile names its own (`pipelines.profiles`)."""

TRAIN = "retort/train:dev"
"""What `make images` makes of `docker/Dockerfile`: the whole package without vLLM."""
