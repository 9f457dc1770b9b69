"""A task of a run in a pod: through DVC, in a private workspace, with nothing but an object store to share."""
