"""What the methods that learn from the student's own samples read beside their settings; no torch is needed to know."""

from __future__ import annotations

from typing import Any

from retort.config.methods import OnPolicyConfig


def on_policy_reads(config: OnPolicyConfig) -> frozenset[Any]:
    """Prompts that no teacher answers, and the vote, where agreement with it decides which student is kept."""
    return frozenset({"unlabelled", *(["votes"] if config.keep == "best" else [])})
