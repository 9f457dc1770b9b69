"""Profiles: where a run's stages go on one cluster and what they may use there."""

from retort_pipelines.profiles.profile import (
    FOLDER,
    Images,
    Needs,
    Profile,
    Secrets,
    Toleration,
    load_profile,
    names,
)

__all__ = ["FOLDER", "Images", "Needs", "Profile", "Secrets", "Toleration", "load_profile", "names"]
