"""Looking at what a reward gave before anything is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retort.errors import TrainingError


def checked_scores(scores: Any, name: str, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
    """What a reward gave, as float32, if it is one finite number a response.

    Raises:
        TrainingError: it is not; names the reward and the first response concerned.
    """
    found = torch.as_tensor(scores, dtype=torch.float32).cpu()
    if found.shape != (len(responses),):
        raise TrainingError(
            f"rewards.{name}: scored {len(responses)} responses by a tensor of shape {tuple(found.shape)}, where one "
            "number a response is needed. Mend its function score."
        )
    if not bool(found.isfinite().all()):
        place = int((~found.isfinite()).nonzero()[0])
        raise TrainingError(
            f"rewards.{name}: scored {float(found[place])} for the response {responses[place]!r} to the prompt "
            f"{prompts[place]!r}. A reward must be a finite number: mend what gives it."
        )
    return found
