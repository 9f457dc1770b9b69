"""Images that components run in, by role; a build names its own through the environment when it compiles."""

import os

TRAIN = os.environ.get("RETORT_TRAIN_IMAGE", "retort/train:dev")
"""Image with the whole package: `docker/train`."""
