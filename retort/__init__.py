"""Retort distils a large language model into a small one by transferring its responses and its rewards."""

from importlib.metadata import version

__version__ = version("retort")
"""Version of this installation."""
