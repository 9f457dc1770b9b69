"""The two halves of the held-out prompts: one chooses a reward model's step, the other measures its gate."""

from __future__ import annotations

import hashlib


def held_out_part(prompt_id: str) -> str:
    """`select` or `gate`: which half of the held-out prompts one belongs to."""
    return "select" if hashlib.sha256(prompt_id.encode()).digest()[0] % 2 else "gate"
