"""Configuration: pydantic models, one per stage, and reading them from YAML."""

from retort.config.load import load_config, load_keys, resolved
from retort.config.run import RetortConfig

__all__ = ["RetortConfig", "load_config", "load_keys", "resolved"]
