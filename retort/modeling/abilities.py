"""What a model's code can do, found out on one small batch: pack sequences, pad them, take rows out of its cache.

A row that several sequences share gives right numbers only if the architecture tells them apart by their positions;
many do not, silently. What is known by the kinds of layers is not tried; all else is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retort.errors import ModelError
from retort.modeling.cache import block_cache, cached_pass, join_caches, select_rows

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

_log = logging.getLogger(__name__)

_ATTENTIVE = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layer that can tell packed sequences apart by their positions."""
_KERNELS = ("sdpa", "eager", "flex_attention")
"""Those for padding-free batches take one row only."""
_NEAR = {torch.float32: 1e-3, torch.float64: 1e-3}
_NEAR_LOW = 0.1
"""Largest difference of hidden states, as a share of their length, that is rounding: in float32, and in 16 bits."""


@dataclass(frozen=True)
class Abilities:
    """What a model can do, and so which way it is computed; without any, one sequence at a time, and slower."""

    packs: bool
    """Several sequences may stand in one row, told apart by their positions."""
    shares: bool
    """A mask may say for each token what it sees, so that several responses stand behind one copy of their prompt."""
    caches: bool
    """Tokens read one by one through a cache give what a pass over all of them gives."""
    pads: bool
    """Rows may be padded on the left; otherwise prompts of one length are sampled together."""
    selects: bool
    """Rows can be taken out of its cache, copied in it and joined to it."""
    keeps: bool
    """It gives the scores of some places alone (`logits_to_keep`)."""
    splits: bool
    """The scores of its places can be computed in parts from its last hidden states (`scores_of`)."""

    def missing(self) -> list[str]:
        """Names of what it cannot do."""
        return [one.name for one in fields(self) if not getattr(self, one.name)]


_SLOWER = {
    "packs": "one sequence a row",
    "shares": "a prompt for each of its responses",
    "caches": "everything read again for each token",
    "pads": "prompts of one length together",
    "selects": "finished rows computed to a batch's end",
    "keeps": "scores of prompts too",
    "splits": "scores of all places at once",
}
"""What the lack of each ability means, in words."""


def text_config(model: Any) -> Any:
    """The configuration that holds the sizes of the language model: those of multimodal models have it inside."""
    return model.config.get_text_config(decoder=True)


def causal_of(model: Any) -> Any:
    """The model with its head, without the adapters around it."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def layers_of(model: Any) -> Any:
    """The part of a causal language model that gives hidden states, without the scores over the vocabulary."""
    base = model.base_model
    # Llama 4 names a place for them where none are, and then `base_model` is the model itself.
    return base if base is not model else model.model


def scores_of(model: Any, hidden: Tensor) -> Tensor:
    """Scores over the vocabulary from last hidden states, (..., vocabulary), as known architectures compute them.

    `Abilities.splits` says whether they are the model's own.
    """
    head, config = causal_of(model).get_output_embeddings(), text_config(model)
    scores: Tensor = head(hidden.to(head.weight.dtype))
    for name, divides in (("logit_scale", False), ("lm_head_multiplier", False), ("logits_scaling", True)):
        if (factor := getattr(config, name, None)) is not None:
            scores = scores / factor if divides else scores * factor
    if (
        cap := getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    ) is not None:
        scores = (scores / cap).tanh() * cap
    return scores


def check_abilities(model: PreTrainedModel, name: str) -> Abilities:
    """Find out what a loaded model can do, and say so where it is run a slower way.

    Raises:
        ModelError: the model sees what comes after a token, so it is no causal language model.
    """
    if not _causal(model):
        raise ModelError(
            f"{name}: its tokens see what comes after them, so it is no model that continues text. Use a causal one."
        )
    found = abilities_of(model)
    if missing := found.missing():
        _log.info("%s: %s", name, "; ".join(_SLOWER[one] for one in missing))
    return found


def abilities_of(model: Any) -> Abilities:
    """What a model can do, found out at the first call (kept in the model); on the meta device by its layers alone."""
    causal = causal_of(model)
    known: tuple[Any, Abilities] | None = causal.__dict__.get("_retort_abilities")
    key = (getattr(causal.config, "_attn_implementation", None), _may_pack(causal), _may_share(causal))
    if known is None or known[0] != key:
        known = (key, _find(causal))
        causal._retort_abilities = known
    return known[1]


def _find(model: Any) -> Abilities:
    packs, shares = _may_pack(model), _may_share(model)
    if model.device.type == "meta":
        return Abilities(packs, shares, caches=True, pads=True, selects=True, keeps=True, splits=True)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            packs, caches = packs and _tried(_packs, model), _tried(_caches, model)
            return Abilities(
                packs=packs,
                shares=packs and shares and _tried(_shares, model),
                caches=caches,
                pads=caches and _tried(_pads, model),
                selects=caches and _tried(_selects, model),
                keeps=_tried(_keeps, model),
                splits=_tried(_splits, model),
            )
    finally:
        model.train(training)


def _may_pack(model: Any) -> bool:
    """Whether no layer is of a kind that is known to mix the sequences of a row."""
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or _ATTENTIVE)
    kernel = getattr(config, "_attn_implementation", None) in _KERNELS
    return kernel and kinds <= _ATTENTIVE and not getattr(model, "_is_stateful", False)


def _may_share(model: Any) -> bool:
    """Whether every layer sees all that is before a token: a window counts columns, between which others may stand."""
    config = text_config(model)
    kinds = getattr(config, "layer_types", None)
    whole = set(kinds) == {"full_attention"} if kinds else not _windows(config)
    return whole and getattr(config, "_attn_implementation", None) == "sdpa"


def _windows(config: Any) -> bool:
    """Whether a configuration without kinds of layers speaks of a window or chunk."""
    names = [name for name in config.to_dict() if "window" in name or "chunk" in name or "local" in name]
    return any(getattr(config, name, None) for name in names if not name.startswith(("use_", "num_")))


def _tried(check: Callable[[Any], bool], model: Any) -> bool:
    """Whether a trial went well; an architecture that raises anything at it cannot do it."""
    try:
        return check(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - what it cannot do may fail in any way
        _log.debug("%s: %s: %s", type(model).__name__, check.__name__, error)
        return False


def _ids(model: Any, count: int, seed: int) -> list[int]:
    """Some tokens, none of them special in the configuration: architectures treat padding and images otherwise."""
    config = text_config(model)
    size, special = int(config.vocab_size), _special(model.config) | _special(config)
    draw = torch.Generator().manual_seed(seed)
    found: list[int] = []
    while len(found) < count:
        found += [one for one in torch.randint(0, size, (count,), generator=draw).tolist() if one not in special]
    return found[:count]


def _special(config: Any) -> set[int]:
    values = [value for name, value in config.to_dict().items() if name.endswith(("token_id", "token_index"))]
    return {one for value in values for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)}


def _hidden(model: Any, rows: list[list[int]], **more: Any) -> Tensor:
    """Last hidden states of rows of one length, (rows, tokens, hidden size), float32."""
    ids = torch.tensor(rows, device=model.device)
    given = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in more.items()}
    found: Tensor = layers_of(model)(input_ids=ids, use_cache=False, **given).last_hidden_state
    return found.float()


def _near(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether hidden states (tokens, H) are equal but for rounding.

    In 16 bits a token that a mixture's router sends elsewhere for a rounding may differ much: half of them must not.
    """
    distance = (one - other).norm(dim=-1) / other.norm(dim=-1).clamp(min=1e-6)
    if not bool(distance.isfinite().all()):
        return False
    if dtype in _NEAR:
        return float(distance.max()) < _NEAR[dtype]
    return float(distance.median()) < _NEAR_LOW


def _causal(model: Any) -> bool:
    if model.device.type == "meta":
        return True
    training = model.training
    model.eval()
    first, second, other = _ids(model, 6, 1), _ids(model, 5, 2), _ids(model, 5, 3)
    try:
        with torch.no_grad():
            one = _hidden(model, [first + second])[0]
            two = _hidden(model, [first + other])[0]
    finally:
        model.train(training)
    return _near(one[:6], two[:6], model.dtype)


def _packs(model: Any) -> bool:
    """A sequence behind another in one row: not a trace of the other, and its own positions."""
    first, other, second = _ids(model, 7, 1), _ids(model, 7, 2), _ids(model, 5, 3)
    positions = torch.tensor([[*range(7), *range(5)]])
    alone = _hidden(model, [second])[0]
    packed = _hidden(model, [first + second], attention_mask=None, position_ids=positions)[0, 7:]
    beside = _hidden(model, [other + second], attention_mask=None, position_ids=positions)[0, 7:]
    # The same shapes round alike: what the other sequence leaves behind shows far below rounding in 16 bits.
    exact = float((packed - beside).abs().max()) <= 1e-3 * float(packed.abs().max())
    return (exact or model.dtype in _NEAR or _mixes(model)) and all(
        _near(row, alone, model.dtype) for row in (packed, beside)
    )


def _mixes(model: Any) -> bool:
    """Whether experts are chosen by token: their batches, and so roundings, depend on all that is in a pass."""
    return any("expert" in name for name in text_config(model).to_dict())


def _shares(model: Any) -> bool:
    """Two responses behind one prompt, told apart by a mask."""
    prompt, one, two = _ids(model, 5, 1), _ids(model, 4, 2), _ids(model, 6, 3)
    seen = torch.ones(15, 15, dtype=torch.bool).tril()
    seen[9:, 5:9] = False
    positions = torch.tensor([[*range(9), *range(5, 11)]])
    found = _hidden(model, [prompt + one + two], attention_mask=seen[None, None], position_ids=positions)[0]
    return _near(found[5:9], _hidden(model, [prompt + one])[0, 5:], model.dtype) and _near(
        found[9:], _hidden(model, [prompt + two])[0, 5:], model.dtype
    )


def _scores(model: Any, rows: list[list[int]]) -> list[Tensor]:
    """Scores of the token after each row, (1, vocabulary) each, from a pass without a cache."""
    ids = [torch.tensor([row], device=model.device) for row in rows]
    return [model(input_ids=one, use_cache=False).logits[:, -1].float() for one in ids]


def _read(model: Any, rows: list[list[int]], pads: list[int]) -> tuple[DynamicCache, Tensor]:
    """A cache that has read rows of one length, and their mask; `pads` tokens of each are padding."""
    cache = block_cache(model.config)
    mask = torch.ones(len(rows), len(rows[0]), dtype=torch.long, device=model.device)
    for row, count in enumerate(pads):
        mask[row, :count] = 0
    ids = torch.tensor(rows, device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cached_pass(model, cache, mask if any(pads) else None, input_ids=ids, position_ids=positions)
    return cache, mask


def _decode(model: Any, cache: DynamicCache, mask: Tensor, tokens: list[int]) -> Tensor:
    """Scores of the next token, (rows, vocabulary), after one more token of each row."""
    mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    found: Tensor = cached_pass(
        model,
        cache,
        None if bool(mask.all()) else mask,
        input_ids=torch.tensor(tokens, device=model.device)[:, None],
        position_ids=mask.sum(dim=1, keepdim=True) - 1,
    ).logits[:, -1]
    return found.float()


def _all_near(found: Tensor, expected: list[Tensor], dtype: torch.dtype) -> bool:
    return all(_near(row[None], one, dtype) for row, one in zip(found, expected, strict=True))


def _caches(model: Any) -> bool:
    """Tokens read one by one through a cache: the scores of a pass over all of them."""
    row, (first, second) = _ids(model, 6, 1), _ids(model, 2, 2)
    cache, mask = _read(model, [row], [0])
    one = _decode(model, cache, mask, [first])
    two = _decode(model, cache, torch.nn.functional.pad(mask, (0, 1), value=1), [second])
    expected = _scores(model, [[*row, first], [*row, first, second]])
    return _all_near(torch.cat([one, two]), expected, model.dtype)


def _pads(model: Any) -> bool:
    """A short row padded on the left beside a long one: the scores that it has alone."""
    long, short = _ids(model, 9, 1), _ids(model, 4, 2)
    then = _ids(model, 2, 3)
    cache, mask = _read(model, [long, [short[0]] * 5 + short], [0, 5])
    expected = _scores(model, [[*long, then[0]], [*short, then[1]]])
    return _all_near(_decode(model, cache, mask, then), expected, model.dtype)


def _selects(model: Any) -> bool:
    """Rows of a cache copied and taken out, and joined to another cache of more columns: each goes on as alone."""
    one, two, three = _ids(model, 6, 1), _ids(model, 6, 2), _ids(model, 9, 3)
    then = _ids(model, 3, 4)
    cache, mask = _read(model, [one, two], [0, 0])
    index = torch.tensor([1, 0, 1], device=model.device)
    select_rows(cache, index)
    expected = _scores(model, [[*row, token] for row, token in zip((two, one, two), then, strict=True)])
    if not _all_near(_decode(model, cache, mask[index], then), expected, model.dtype):
        return False
    cache, mask = _read(model, [one, two], [0, 0])
    other, more = _read(model, [three], [0])
    join_caches(cache, other, 9)
    mask = torch.cat([torch.nn.functional.pad(mask, (3, 0)), more])
    expected = _scores(model, [[*row, token] for row, token in zip((one, two, three), then, strict=True)])
    return _all_near(_decode(model, cache, mask, then), expected, model.dtype)


def _splits(model: Any) -> bool:
    row = [_ids(model, 6, 1)]
    seen: list[Tensor] = []
    watch = layers_of(model).register_forward_hook(lambda _module, _inputs, out: seen.append(out.last_hidden_state))
    try:
        expected = model(input_ids=torch.tensor(row, device=model.device), use_cache=False).logits
    finally:
        watch.remove()
    found = scores_of(model, seen[-1])  # OPT's layers are called past the place where they are known
    # Far below what another factor or cap would make of it.
    return bool(
        torch.allclose(found.float(), expected.float(), rtol=2e-2 if model.dtype not in _NEAR else 1e-4, atol=1e-2)
    )


def _keeps(model: Any) -> bool:
    ids = _ids(model, 8, 1)
    keep = torch.zeros(2, 4, dtype=torch.bool, device=model.device)
    keep[0, 1] = keep[1, 3] = True
    rows = torch.tensor([ids[:4], ids[4:]], device=model.device)
    found = model(input_ids=rows, use_cache=False, logits_to_keep=keep).logits
    return tuple(found.shape[:-1]) == (2,) and _near(
        found.float(), model(input_ids=rows, use_cache=False).logits[keep].float(), model.dtype
    )
