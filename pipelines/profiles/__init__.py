"""Profiles: where a run's stages go on one cluster and what they may use there."""

from retort_pipelines.profiles.profile import (
    FOLDER,
    WITH_MODELS,
    Images,
    Needs,
    Profile,
    Secrets,
    Toleration,
    load_profile,
    names,
)

__all__ = ["FOLDER", "WITH_MODELS", "Images", "Needs", "Profile", "Secrets", "Toleration", "load_profile", "names"]
