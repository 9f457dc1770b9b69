"""What a reward is: the interface that every RL method trains against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

if TYPE_CHECKING:
    from torch import Tensor


class Reward(Protocol):
    """Scores responses. One that also has a method `close()` is closed after training."""

    @property
    def name(self) -> str:
        """Name of the entry of `rewards`."""
        ...

    @property
    def flops_per_token(self) -> float:
        """Compute of scoring one token, for the cost of a run; 0 where no model runs here."""
        ...

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """How good each response is, shape (N,), float32 on the CPU; higher is better, and every value finite.

        Args:
            prompts: Users' messages, N of them.
            responses: A response to each.
            finished: Whether the model ended each itself.
        """
        ...


class LikelihoodReward(Reward, Protocol):
    """A reward that looks at how likely frozen models find each token; a trainer computes that once for all its uses.

    What a trainer may do with one beside scoring: give the critic the likelihood so far, and share weights.
    """

    def frozen_models(self, tokenizer: Any) -> dict[str, Any]:
        """Its frozen causal language models that read the very tokens of `tokenizer`, by name of model or student."""
        ...

    def score_knowing(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        known: Mapping[str, Sequence[Tensor]],
    ) -> Tensor:
        """As `score`, where token log-probabilities of the responses under some frozen models are known."""
        ...

    def prefix_features(self, logprobs_BT: Tensor, response_mask_BT: Tensor) -> Tensor:
        """What one model's log-probabilities say of a response before each of its tokens, shape (B, T, F)."""
        ...

    def critic_trunk(self, tokenizer: Any) -> Any:
        """A model for the critic to start from: the reward's own trunk, if it reads the tokens of `tokenizer`."""
        ...

    def share_weights(self, policy: Any, reference: Any, start: str, adapter: str) -> None:
        """Use the weights of a policy with adapters where they are this reward's too.

        Args:
            policy: The model with adapters.
            reference: The same without them.
            start: Model or student that the policy started from.
            adapter: Name for the reward's own adapter in the policy.
        """
        ...


@dataclass(frozen=True)
class RewardContext:
    """What a reward is loaded from."""

    name: str
    """Name of the entry of `rewards`."""
    settings: Any
    """Its settings, an instance of its type's configuration class."""
    answer: str
    """Kind of answer that responses end in."""
    root: Path
    """Folder that the configuration's paths start from."""
    folder: Path
    """`outputs/rewards/NAME`, which a trained reward's stage has written."""
    models: Callable[[str], Path]
    """Folder of a model or student by name."""
    prompts: Mapping[str, Path]
    """Tables of prompts by split."""
    votes: Path
    """Table of pseudo-labels; there only where the type reads it."""
    judge: Any = None
    """Section `judge` of the configuration."""
    state: Path = Path()
    """Folder that survives a kill of the task, for what was paid for."""
    seed: int = 0


def nothing(_settings: Any) -> list[str]:
    """No names, whatever the settings."""
    return []


@dataclass(frozen=True)
class RewardType:
    """A type of reward: one file, one configuration class, one registration in group `retort.rewards`."""

    name: str
    """As `type` in the configuration."""
    config: type[BaseModel]
    """Its settings, a `retort.config.base.Strict`."""
    load: Callable[[RewardContext], Reward]
    """The reward, ready to score. Heavy imports belong inside."""
    trained: bool = False
    """Whether it is learned from the pseudo-labels by the stages `reward_data` and `reward`, behind a gate."""
    votes: bool = False
    """Whether it reads the prompts and their pseudo-labels."""
    judge: bool = False
    """Whether it asks the judge of the section `judge`."""
    models: Callable[[Any], list[str]] = nothing
    """Names of the models and students that it loads, under its settings."""
    sources: Callable[[Any], list[str]] = nothing
    """Files of the project that it reads, under its settings."""
    modules: Callable[[Any], list[str]] = nothing
    """Modules, beside its own, whose code decides its scores, under its settings."""
