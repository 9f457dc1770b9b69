"""Dividing prompts among train, validation and test: decided by a hash of each prompt's id, not by file order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from retort.data.sources import Prompt
from retort.errors import ConfigError


@dataclass(frozen=True)
class Splits:
    """Prompts of each split, each in the order they were loaded in."""

    train: list[Prompt]
    validation: list[Prompt]
    test: list[Prompt]
    unused: int
    """Training prompts beyond `limit`."""


def split_prompts(
    prompts: Sequence[Prompt], *, seed: int, validation: int, test: int, limit: int | None = None
) -> Splits:
    """Divide prompts: sources with a `use` go where it says, the rest fill test and validation, then train.

    Raises:
        ConfigError: there are too few prompts for the wanted splits.
    """
    ranked = sorted(prompts, key=lambda prompt: _rank(seed, prompt.prompt_id))
    free = [prompt for prompt in ranked if prompt.use == "split"]
    chosen = {use: [prompt for prompt in ranked if prompt.use == use] for use in ("test", "validation", "train")}
    for use, wanted in (("test", test), ("validation", validation)):
        missing = max(0, wanted - len(chosen[use]))
        if missing > len(free) and (use == "test" or not chosen[use]):
            raise ConfigError(
                f"prompts.{use} asks for {wanted} prompts, but only {len(chosen[use]) + len(free)} are left for it "
                f"after cleaning. Lower prompts.{use} or add sources."
            )
        chosen[use] += free[:missing]
        free = free[missing:]
    train = chosen["train"] + free
    if not train:
        raise ConfigError(
            f"no prompt is left for training: validation has {len(chosen['validation'])}, test {len(chosen['test'])} "
            f"of {len(prompts)}. Lower prompts.validation and prompts.test or add sources."
        )
    kept = sorted(train, key=lambda prompt: _rank(seed, prompt.prompt_id))[:limit]
    order = {prompt.prompt_id: place for place, prompt in enumerate(prompts)}

    def in_order(some: list[Prompt]) -> list[Prompt]:
        return sorted(some, key=lambda prompt: order[prompt.prompt_id])

    return Splits(
        in_order(kept), in_order(chosen["validation"]), in_order(chosen["test"]), unused=len(train) - len(kept)
    )


def _rank(seed: int, prompt_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
