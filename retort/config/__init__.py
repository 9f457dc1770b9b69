"""Configuration: pydantic models, one per stage, and reading them from YAML."""

from retort.config.run import RetortConfig, load_config, load_keys, resolved

__all__ = ["RetortConfig", "load_config", "load_keys", "resolved"]
