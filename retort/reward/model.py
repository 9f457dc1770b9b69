"""The pointwise reward model: a language model's trunk and a small head that gives P(agrees with the vote).

It takes text, not tokens, so policy, trunk and judges may each have a tokenizer of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from retort.chat import prompt_ids, response_ids
from retort.errors import ModelError
from retort.files import native_writes, write_json
from retort.likelihood import length_sorted_batches, pad_batch
from retort.models import load_model, load_tokenizer
from retort.reward.features import POOLED, Judge, features

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class RewardModel(nn.Module):
    """Trunk, head and the frozen judges whose likelihood the head sees.

    Args:
        trunk: Causal language model; its last hidden state at the response's last token is used.
        tokenizer: The trunk's tokenizer.
        judges: Frozen models by name (teacher, sft).
        head_size: Hidden width of the head.
    """

    def __init__(
        self,
        trunk: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        judges: dict[str, Judge],
        *,
        head_size: int,
    ):
        super().__init__()
        self.trunk, self.tokenizer, self.judges, self.head_size = trunk, tokenizer, judges, head_size
        hidden = int(trunk.config.hidden_size)
        count = len(judges) * len(POOLED) + 2
        self.from_hidden = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, head_size))
        self.from_features = nn.Linear(count, head_size)
        self.to_logit = nn.Sequential(nn.GELU(), nn.Linear(head_size, head_size), nn.GELU(), nn.Linear(head_size, 1))
        self.feature_mean: Tensor
        self.feature_scale: Tensor
        self.temperature: Tensor
        self.bias: Tensor
        self.register_buffer("feature_mean", torch.zeros(count))
        self.register_buffer("feature_scale", torch.ones(count))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the head alone."""
        return [p for part in (self.from_hidden, self.from_features, self.to_logit) for p in part.parameters()]

    def encode(self, prompt: str, response: str, finished: bool) -> tuple[list[int], list[int]]:
        """Tokens of prompt and response for the trunk."""
        return prompt_ids(self.tokenizer, prompt), response_ids(self.tokenizer, response, finished=finished)

    def logits(self, prompts: list[list[int]], responses: list[list[int]], features_NF: Tensor) -> Tensor:
        """Logit of agreement for B tokenized responses with their features, shape (B,), before calibration."""
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer sets a pad token"
        batch = pad_batch(prompts, responses, pad).to(self.trunk.device)
        hidden = self.trunk.base_model(
            input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        ).last_hidden_state
        rows = torch.arange(len(prompts), device=hidden.device)
        # At the last token of all, which is the prompt's where a response is empty.
        last = hidden[rows, batch.attention_mask_BT.sum(dim=1) - 1].float()
        scaled = (features_NF.to(hidden.device) - self.feature_mean) / self.feature_scale
        return self.to_logit(self.from_hidden(last) + self.from_features(scaled)).squeeze(1)  # type: ignore[no-any-return]

    def features(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        *,
        known: Mapping[str, Sequence[Tensor]] | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """The judges' features of N responses, shape (N, F), not yet scaled.

        Args:
            prompts: Users' messages.
            responses: Responses to them.
            finished: Whether the model ended each itself.
            known: Token log-probabilities by judge where they were computed already.
            batch_size: Rows of a forward pass.
        """
        known = known or {}
        logprobs = [
            known[name] if name in known else judge.logprobs(prompts, responses, finished, batch_size=batch_size)
            for name, judge in self.judges.items()
        ]
        return features(logprobs, responses, finished)

    @torch.inference_mode()
    def score(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        *,
        known: Mapping[str, Sequence[Tensor]] | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Calibrated probability that each response agrees with the vote, shape (N,), float32 on the CPU.

        The arguments are those of `features`.
        """
        table = self.features(prompts, responses, finished, known=known, batch_size=batch_size)
        tokens = [self.encode(*row) for row in zip(prompts, responses, finished, strict=True)]
        return self.score_tokens(tokens, table, batch_size=batch_size)

    @torch.inference_mode()
    def score_tokens(
        self, tokens: Sequence[tuple[list[int], list[int]]], features_NF: Tensor, *, batch_size: int
    ) -> Tensor:
        """As `score`, for responses already tokenized and with features."""
        scores = torch.zeros(len(tokens))
        for index in length_sorted_batches([len(prompt) + len(response) for prompt, response in tokens], batch_size):
            logits = self.logits([tokens[i][0] for i in index], [tokens[i][1] for i in index], features_NF[index])
            scores[index] = (logits / self.temperature + self.bias).sigmoid().cpu()
        return scores

    def save(self, folder: Path, *, init: str) -> None:
        """Write trunk, tokenizer and head into `folder` (which the caller makes atomic)."""
        from safetensors.torch import save_file

        head = {
            name: value.contiguous().cpu() for name, value in self.state_dict().items() if not name.startswith("trunk.")
        }
        with native_writes():
            self.trunk.save_pretrained(folder / "trunk")
            self.tokenizer.save_pretrained(folder / "trunk")
            save_file(head, folder / "head.safetensors")
        write_json(folder / "reward.json", {"judges": list(self.judges), "head_size": self.head_size, "init": init})

    @classmethod
    def load(cls, folder: Path, judge_folders: dict[str, Path]) -> RewardModel:
        """Read what `save` wrote; the judges are models of their own, in `judge_folders` by name.

        Raises:
            ModelError: the folder holds no reward model, or a judge is missing.
        """
        from safetensors.torch import load_file

        if not (folder / "reward.json").exists():
            raise ModelError(f"{folder}/reward.json: does not exist. Run the stage `reward`.")
        settings = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        trunk = load_model(folder / "trunk")
        model = cls(
            trunk,
            load_tokenizer(folder / "trunk", training=False),
            load_judges({name: judge_folders[name] for name in settings["judges"]}),
            head_size=settings["head_size"],
        )
        model.load_state_dict(load_file(folder / "head.safetensors"), strict=False)
        return model.to(trunk.device).eval()


def load_judges(folders: dict[str, Path]) -> dict[str, Judge]:
    """Load the frozen models that the head is to see the likelihood of."""
    judges = {}
    for name, folder in folders.items():
        model = load_model(folder)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        judges[name] = Judge(model, load_tokenizer(folder, training=False))
    return judges
