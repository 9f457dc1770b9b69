"""The pointwise reward model: a language model's trunk and a small head that gives P(agrees with the vote).

It takes text, not tokens, so policy, trunk and likelihood models may each have a tokenizer of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retort.errors import InputError, ModelError
from retort.io.files import native_writes, write_json
from retort.modeling.abilities import text_config
from retort.modeling.batch import TokenBatch, pad_batch
from retort.modeling.chat import differing_parts, fingerprint, prompt_ids, response_ids, response_tokens
from retort.modeling.loading import load_model, load_tokenizer, model_size
from retort.modeling.logprobs import length_sorted_batches
from retort.modeling.lora import WithAdapter, is_adapter, save_adapter
from retort.modeling.packing import hidden_states
from retort.rewards.learned.features import (
    POOLED,
    LikelihoodModel,
    features,
    pool_prefixes,
    prefix_features,
    token_features,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class RewardModel(nn.Module):
    """Trunk, head and the frozen likelihood models whose likelihood the head sees.

    Args:
        trunk: Causal language model, with adapters in its layers (`adapt`) or not; its last hidden state at the
            response's last token is used.
        tokenizer: The trunk's tokenizer.
        likelihood_models: Frozen models by name of model or student.
        head_size: Hidden width of the head.
        init: Model or student that the trunk started from.
        name: Name of the reward.
    """

    def __init__(
        self,
        trunk: Any,
        tokenizer: PreTrainedTokenizerFast,
        likelihood_models: dict[str, LikelihoodModel],
        *,
        head_size: int,
        init: str = "sft",
        name: str = "learned",
    ):
        super().__init__()
        self.trunk, self.tokenizer, self.likelihood_models, self.head_size = (
            trunk,
            tokenizer,
            likelihood_models,
            head_size,
        )
        self.init, self.folder, self.name = init, Path("(not saved)"), name
        self.folders: dict[str, Path] = {}
        self._adapted: tuple[Any, ...] = ()
        self.compute_dtype = trunk.dtype
        hidden = int(text_config(trunk).hidden_size)
        count = len(likelihood_models) * len(POOLED) + 2
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

    @property
    def adapted(self) -> Any:
        """The trunk with adapters in its layers; None where it has none."""
        return self._adapted[0] if self._adapted else None

    def adapt(self, adapted: Any) -> None:
        """The trunk's layers hold adapters: `adapted`, of `with_adapters`, is the trunk with them."""
        self._adapted = (adapted,)  # in a tuple, it is not a second part of this module

    def share(self, adapted: Any, name: str) -> None:
        """Give up the trunk for another model's weights, `adapted`, with its adapter `name`, which is the trunk's."""
        del self.trunk
        self.trunk, self._adapted = WithAdapter(adapted, name), ()

    @property
    def flops_per_token(self) -> float:
        """Compute of scoring one token: 2 x parameters of the trunk and of each frozen model."""
        models = [self.trunk, *(one.model for one in self.likelihood_models.values())]
        return 2.0 * sum(model_size(model) for model in models)

    def frozen_models(self, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
        """See `retort.plugins.LikelihoodReward`."""
        return {name: one.model for name, one in self.likelihood_models.items() if one.reads_like(tokenizer)}

    def score_knowing(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        known: Mapping[str, Sequence[Tensor]],
    ) -> Tensor:
        """See `retort.plugins.LikelihoodReward`."""
        return self.score(prompts, responses, finished, known=known, batch_size=128)

    def prefix_features(self, logprobs_BT: Tensor, response_mask_BT: Tensor) -> Tensor:
        """See `retort.plugins.LikelihoodReward` and `features.prefix_features`."""
        return prefix_features(logprobs_BT, response_mask_BT)

    def critic_trunk(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        """The trunk once more, with its adapter merged, for a critic to start from.

        Raises:
            InputError: it reads other tokens than the policy.
        """
        if not LikelihoodModel(self.trunk, self.tokenizer).reads_like(tokenizer):
            raise InputError(
                "has another vocabulary or chat template than the student: the critic cannot start from it",
                file=self.folder / "trunk",
                remedy=f"Set critic_init to policy, or give rewards.{self.name} the student as its trunk",
            )
        trunk = load_trunk(self.folder, self.folders)
        return trunk.merge_and_unload() if is_adapter(self.folder / "trunk") else trunk

    def share_weights(self, policy: Any, reference: Any, start: str, adapter: str) -> None:
        """See `retort.plugins.LikelihoodReward`."""
        if start in self.likelihood_models:
            self.likelihood_models[start] = LikelihoodModel(reference, self.likelihood_models[start].tokenizer)
        if self.adapted is not None and self.init == start:
            policy.load_adapter(str(self.folder / "trunk"), adapter)
            self.share(policy, adapter)

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the head alone."""
        return [p for part in (self.from_hidden, self.from_features, self.to_logit) for p in part.parameters()]

    def to_compute_dtype(self) -> None:
        """Give the trunk's weights the type that they were loaded in."""
        nn.Module.to(self.trunk, self.compute_dtype)

    def encode(self, prompt: str, response: str, finished: bool) -> tuple[list[int], list[int]]:
        """Tokens of prompt and response for the trunk."""
        return prompt_ids(self.tokenizer, prompt), response_ids(self.tokenizer, response, finished=finished)

    def logits(self, prompts: list[list[int]], responses: list[list[int]], features_NF: Tensor) -> Tensor:
        """Logit of agreement for B tokenized responses with their features, shape (B,), before calibration."""
        batch = self._batch(prompts, responses)
        # At the last token of all, which is the prompt's where a response is empty.
        last = torch.zeros_like(batch.ids_BT, dtype=torch.bool)
        last[torch.arange(len(prompts)), batch.attention_mask_BT.sum(dim=1) - 1] = True
        return self._head(self._hidden(batch, last), features_NF)

    def token_logits(
        self, prompts: list[list[int]], responses: list[list[int]], features: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits of agreement after each token of B responses, and the response that each belongs to, shape (M,) both.

        Each sees the tokens and likelihoods so far; the last of a response is that of `logits`. An empty response has
        one, at its prompt's last token.

        Args:
            prompts: Tokens of the prompts.
            responses: Tokens of the responses.
            features: Of each response, what `token_features` gives.
        """
        batch = self._batch(prompts, responses)
        asked = batch.response_mask_BT.bool()
        empty = (~asked.any(dim=1)).nonzero().squeeze(1)
        asked[empty, batch.attention_mask_BT[empty].sum(dim=1) - 1] = True
        return self._head(self._hidden(batch, asked), torch.cat(list(features))), asked.nonzero()[:, 0]

    def _batch(self, prompts: list[list[int]], responses: list[list[int]]) -> TokenBatch:
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int), "load_tokenizer sets a pad token"
        return pad_batch(prompts, responses, pad).to(self.trunk.device)

    def _hidden(self, batch: TokenBatch, where_BT: Tensor) -> Tensor:
        """The trunk's last hidden states at the N tokens where `where_BT` is true, shape (N, H), float32."""
        # While float32 copies of bfloat16 weights are trained, they compute in bfloat16 all the same.
        mixed = self.trunk.dtype != self.compute_dtype
        with torch.autocast(batch.ids_BT.device.type, dtype=self.compute_dtype, enabled=mixed):
            return hidden_states(self.trunk, batch, where_BT).float()

    def _head(self, hidden_NH: Tensor, features_NF: Tensor) -> Tensor:
        scaled = (features_NF.to(hidden_NH.device) - self.feature_mean) / self.feature_scale
        return self.to_logit(self.from_hidden(hidden_NH) + self.from_features(scaled)).squeeze(1)  # type: ignore[no-any-return]

    def features(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        *,
        known: Mapping[str, Sequence[Tensor]] | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """The likelihood models' features of N responses, shape (N, F), not yet scaled.

        Args:
            prompts: Users' messages.
            responses: Responses to them.
            finished: Whether the model ended each itself.
            known: Token log-probabilities by likelihood model where they were computed already.
            batch_size: Rows of a forward pass.
        """
        return features(
            self._likelihoods(prompts, responses, finished, known=known, batch_size=batch_size), responses, finished
        )

    def token_features(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool], *, batch_size: int = 64
    ) -> tuple[Tensor, list[Tensor]]:
        """As `features`, and the same after each token of each response, shape (max(1, tokens), F) each."""
        logprobs = self._likelihoods(prompts, responses, finished, known=None, batch_size=batch_size)
        table = features(logprobs, responses, finished)
        pooled = [pool_prefixes(row) for row in logprobs]
        tokenizers = [self.tokenizer, *(one.tokenizer for one in self.likelihood_models.values())]
        found = []
        for number, (response, end) in enumerate(zip(responses, finished, strict=True)):
            own, *others = (response_tokens(tokenizer, response, finished=end)[1] for tokenizer in tokenizers)
            found.append(token_features([row[number] for row in pooled], others, own, table[number]))
        return table, found

    def _likelihoods(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        finished: Sequence[bool],
        *,
        known: Mapping[str, Sequence[Tensor]] | None,
        batch_size: int,
    ) -> list[Sequence[Tensor]]:
        """Each likelihood model's token log-probabilities of the responses."""
        known = known or {}
        return [
            known[name] if name in known else one.logprobs(prompts, responses, finished, batch_size=batch_size)
            for name, one in self.likelihood_models.items()
        ]

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
            scores[index] = (logits / self.temperature + self.bias).sigmoid().float().cpu()
        return scores

    def check_reads_like(self, tokenizer: PreTrainedTokenizerFast, student: str) -> None:
        """Refuse to score a policy other than the student that this model was made from.

        Responses come as text, so what began as another model may read them in a vocabulary and template of its own.
        What is the very student that the policy starts from must read as the policy does: where it does not, this
        model belongs to another one.

        Args:
            tokenizer: The policy's.
            student: Model or student that the policy starts from.

        Raises:
            InputError: the student's part has another vocabulary or chat template than `tokenizer`.
        """
        parts = {"trunk": self.tokenizer} if self.init == student else {}
        parts |= {name: one.tokenizer for name, one in self.likelihood_models.items() if name == student}
        for name, mine in parts.items():
            if differing := differing_parts(fingerprint(mine), fingerprint(tokenizer)):
                raise InputError(
                    f"its {name} was trained with another {differing} than the policy's",
                    file=self.folder / "reward.json",
                    field=f"reads.{name}",
                    remedy="Run the stage `reward` again with this student, or use the student that it was made with",
                )

    def save(self, folder: Path) -> None:
        """Write trunk, tokenizer, head and how each part reads into `folder` (which the caller makes atomic)."""
        from safetensors.torch import save_file

        head = {
            name: value.contiguous().cpu() for name, value in self.state_dict().items() if not name.startswith("trunk.")
        }
        with native_writes():
            if self.adapted is None:
                self.trunk.save_pretrained(folder / "trunk")
            else:
                save_adapter(self.adapted, folder / "trunk", base=self.init)
            self.tokenizer.save_pretrained(folder / "trunk")
            save_file(head, folder / "head.safetensors")
        reads = {"trunk": fingerprint(self.tokenizer)}
        reads |= {name: fingerprint(one.tokenizer) for name, one in self.likelihood_models.items()}
        settings = {
            "likelihood_models": list(self.likelihood_models),
            "head_size": self.head_size,
            "init": self.init,
            "reads": reads,
        }
        write_json(folder / "reward.json", settings)

    @classmethod
    def load(cls, folder: Path, folders: dict[str, Path], *, name: str = "learned") -> RewardModel:
        """Read what `save` wrote; the likelihood models, and the base of an adapter's trunk, are in `folders` by name.

        Raises:
            ModelError: the folder holds no reward model, or a likelihood model is missing.
            InputError: a likelihood model has another vocabulary or chat template than when the head was trained.
        """
        from safetensors.torch import load_file

        if not (folder / "reward.json").exists():
            raise ModelError(f"{folder}/reward.json: does not exist. Run the stage `reward`.")
        settings = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        if not {"reads", "likelihood_models"} <= settings.keys():
            raise ModelError(f"{folder}/reward.json: was written by an earlier version. Run the stage `reward` again.")
        trunk = load_trunk(folder, folders)
        model = cls(
            trunk.get_base_model() if is_adapter(folder / "trunk") else trunk,
            load_tokenizer(folder / "trunk", training=False),
            load_likelihood_models({name: folders[name] for name in settings["likelihood_models"]}),
            head_size=settings["head_size"],
            init=settings["init"],
            name=name,
        )
        model.folder, model.folders = folder, folders
        if is_adapter(folder / "trunk"):
            model.adapt(trunk)
        for read, one in model.likelihood_models.items():
            if differing := differing_parts(settings["reads"][read], fingerprint(one.tokenizer)):
                raise InputError(
                    f"the head was trained with a likelihood model of another {differing} than {folders[read]} has now",
                    file=folder / "reward.json",
                    field=f"reads.{read}",
                    remedy="Run the stage `reward` again",
                )
        model.load_state_dict(load_file(folder / "head.safetensors"), strict=False)
        return model.to(trunk.device).eval()


def load_trunk(folder: Path, folders: dict[str, Path]) -> Any:
    """The trunk of the reward model in `folder`; where it is an adapter, the model in `folders` that it belongs to."""
    if not is_adapter(folder / "trunk"):
        return load_model(folder / "trunk")
    from peft import PeftConfig, PeftModel

    base = PeftConfig.from_pretrained(folder / "trunk").base_model_name_or_path
    return PeftModel.from_pretrained(load_model(folders[base]), folder / "trunk")


def load_likelihood_models(folders: dict[str, Path]) -> dict[str, LikelihoodModel]:
    """Load the frozen models that the head is to see the likelihood of."""
    likelihood_models = {}
    for name, folder in folders.items():
        model = load_model(folder)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        likelihood_models[name] = LikelihoodModel(model, load_tokenizer(folder, training=False))
    return likelihood_models
