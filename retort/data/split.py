"""Dividing prompts among their uses: decided by a hash of each prompt's id, not by file order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from retort.data.sources import Prompt
from retort.errors import ConfigError


@dataclass(frozen=True)
class Splits:
    """Prompts of each split, each in the order they were loaded in."""

    train: list[Prompt]
    validation: list[Prompt]
    test: list[Prompt]
    unused: int
    """Training prompts beyond `limit`, and unlabelled ones beyond `unlabelled`."""
    unlabelled: list[Prompt] = field(default_factory=list)
    """Prompts that the teacher never answers."""


def split_prompts(
    prompts: Sequence[Prompt],
    *,
    seed: int,
    validation: int,
    test: int,
    limit: int | None = None,
    unlabelled: int | None = None,
) -> Splits:
    """Divide prompts: sources with a `use` go where it says, the rest fill test and validation, then train.

    How many are unlabelled changes none of the other uses, so that the teacher is asked nothing twice.

    Raises:
        ConfigError: there are too few prompts for the wanted splits.
    """
    ranked = sorted(prompts, key=lambda prompt: _rank(seed, prompt.prompt_id))
    free = [prompt for prompt in ranked if prompt.use == "split"]
    chosen = {
        use: [prompt for prompt in ranked if prompt.use == use] for use in ("test", "validation", "train", "unlabelled")
    }
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
        beside = f", {len(chosen['unlabelled'])} are unlabelled" if chosen["unlabelled"] else ""
        raise ConfigError(
            f"no prompt is left for training: validation has {len(chosen['validation'])}, test {len(chosen['test'])}"
            f"{beside} of {len(prompts)}. Lower prompts.validation and prompts.test or add sources."
        )
    train = sorted(train, key=lambda prompt: _rank(seed, prompt.prompt_id))
    kept = train[:limit]
    bare = _unlabelled(chosen["unlabelled"], train[len(kept) :], unlabelled)
    order = {prompt.prompt_id: place for place, prompt in enumerate(prompts)}

    def in_order(some: list[Prompt]) -> list[Prompt]:
        return sorted(some, key=lambda prompt: order[prompt.prompt_id])

    return Splits(
        in_order(kept),
        in_order(chosen["validation"]),
        in_order(chosen["test"]),
        unused=len(train) + len(chosen["unlabelled"]) - len(kept) - len(bare),
        unlabelled=in_order(bare),
    )


def _unlabelled(own: list[Prompt], beyond: list[Prompt], wanted: int | None) -> list[Prompt]:
    """Prompts of sources for that use, then training prompts beyond `limit`."""
    if wanted is None:
        return own
    if wanted > len(own) + len(beyond):
        raise ConfigError(
            f"prompts.unlabelled asks for {wanted} prompts, but only {len(own)} of sources with that use and "
            f"{len(beyond)} training prompts beyond prompts.limit are left for it after cleaning. Lower "
            "prompts.unlabelled or prompts.limit, or add sources."
        )
    return [*own, *beyond][:wanted]


def _rank(seed: int, prompt_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
