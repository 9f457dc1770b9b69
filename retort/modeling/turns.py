"""What a chat template makes of a turn, found out by rendering one: how a prompt ends, how an assistant's turn does.

The token that ends a turn is often not the tokenizer's end token (Gemma's `<end_of_turn>`, Phi's `<|end|>`, Llama 3's
`<|eot_id|>`), and templates do more than they are asked: trim, add a system prompt or a date, read content in parts,
ignore `add_generation_prompt`. All of it is learnt here once from the text that a template writes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retort.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ASKED, _ANSWERED, _AGAIN = "Qx1 is what?", "Ax1 it is.", "Qx2 is what?"
"""Contents that no template holds."""
_DAY = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)
"""Today, for templates that write the date: prompts must not change from day to day. Llama 3's own default."""


@dataclass(frozen=True)
class Turn:
    """How a tokenizer's chat template writes turns."""

    opening: str
    """What follows a prompt before the assistant's words, where the template writes it into a whole conversation but
    not after a prompt alone; mostly empty."""
    context: str
    """Text that a response is tokenized behind, where its tokens are others there than alone; mostly empty."""
    closing: tuple[int, ...]
    """Tokens that follow a response when its turn ends; the last one ends generation."""
    lead: str
    """Text of the closing before its last token, mostly empty."""
    stop: str
    """Text that ends a turn where no single token does: generation ends there too. Mostly empty."""
    markup: frozenset[int]
    """Tokens between one turn's content and the next one's: no response holds them."""
    parts: bool
    """Whether the template reads a message's content as a list of parts, as those of multimodal models do."""
    remarks: tuple[str, ...]
    """What the template does beside writing the turns, and what is trained otherwise than it writes; for people."""


def turn_of(tokenizer: PreTrainedTokenizerFast) -> Turn:
    """How the tokenizer's chat template writes turns; found out at the first call.

    Raises:
        ModelError: the template cannot be rendered, or loses what the user asks.
    """
    key = (tokenizer.chat_template, tokenizer.eos_token_id, len(tokenizer))
    known: tuple[Any, Turn] | None = getattr(tokenizer, "_retort_turn", None)
    if known is None or known[0] != key:
        known = (key, _find(tokenizer))
        tokenizer._retort_turn = known  # as long as the tokenizer lives, and copied with it
    return known[1]


def end_ids(tokenizer: PreTrainedTokenizerFast, model: Any = None) -> tuple[int, ...]:
    """Every token at which generation ends, ascending: the tokenizer's, the template's, the generation configuration's.

    Args:
        tokenizer: With a chat template, or without.
        model: A model of `transformers`, with adapters or not.
    """
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if tokenizer.chat_template:
        found.add(turn_of(tokenizer).closing[-1])
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found |= {listed} if isinstance(listed, int) else set(listed or ())
    return tuple(sorted(int(token) for token in found))


def rendered(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Mapping[str, Any]],
    *,
    parts: bool,
    ask: bool = False,
    go_on: bool = False,
) -> str:
    """The text that the chat template writes for a conversation.

    Args:
        tokenizer: Its template is used; the date in it, if any, is always the same.
        messages: Role and content (text) of each turn.
        parts: Give content as a list of parts.
        ask: End where the assistant begins.
        go_on: End within the last turn, which is the assistant's.

    Raises:
        ModelError: the template fails, or refuses the conversation; its own words are told.
    """
    given = [{**one, "content": [{"type": "text", "text": one["content"]}]} if parts else dict(one) for one in messages]
    try:
        text = tokenizer.apply_chat_template(
            given,
            add_generation_prompt=ask,
            continue_final_message=go_on,
            tokenize=False,
            chat_template=_dated(tokenizer),
        )
    except Exception as error:  # a template is a program of somebody else's: anything may come of it
        raise ModelError(
            f"{_name(tokenizer)}, field 'chat_template': it cannot be used for turns of {_roles(messages)}: "
            f"{type(error).__name__}: {error}. Correct it, or set `chat_template` beside `model` to a Jinja file."
        ) from error
    assert isinstance(text, str), "text was asked for"
    return text


def _dated(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template, with a date that does not change if it writes one."""
    template: str = tokenizer.get_chat_template()
    if "strftime_now" not in template:
        return template
    # A macro hides the function that the library gives templates; one cannot be handed to them from outside.
    codes = "".join(f" | replace('%{code}', '{_DAY.strftime('%' + code)}')" for code in _CODES)
    macro = "{%- macro strftime_now(format) -%}{{- format" + codes + " -}}{%- endmacro -%}"
    return macro + template


_CODES = ("-d", "-m", "-H", "d", "m", "y", "Y", "b", "B", "a", "A", "H", "M", "S", "j", "Z")
"""What of a date templates write."""


def _find(tokenizer: PreTrainedTokenizerFast) -> Turn:
    asked, answered = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}
    parts, prompt = _prompt(tokenizer, asked)
    remarks = ["it reads content in parts"] if parts else []
    plain = _try(tokenizer, [asked], parts)
    whole = _try(tokenizer, [asked, answered], parts)
    longer = _try(tokenizer, [asked, answered, {"role": "user", "content": _AGAIN}], parts)
    opening, closing_text, between = "", "", ""
    if whole is None or _ANSWERED not in whole:
        remarks.append("it writes no assistant's turn: responses follow the prompt and end with the end token")
    else:
        after = whole[whole.rindex(_ANSWERED) + len(_ANSWERED) :]
        if longer is not None and _ANSWERED in longer and _AGAIN in longer:
            between = longer[longer.rindex(_ANSWERED) + len(_ANSWERED) : longer.rindex(_AGAIN)]
        # A template that heeds no flag may end in an opening of the next turn: only what both have ends this one.
        closing_text = _both(tokenizer, after, between) if plain == prompt and longer is not None else after
        written = whole[: whole.rindex(_ANSWERED)]
        if plain == prompt and written.startswith(prompt) and written[len(prompt) :].strip():
            opening = written[len(prompt) :]
            remarks.append(f"it has no generation prompt: {opening!r}, which opens its assistant's turns, is added")
        elif written.strip() != (prompt + opening).strip():
            remarks.append(
                f"it writes {_tail(written, prompt)!r} before an assistant's words, the prompt "
                f"{_tail(prompt, written)!r}: responses are trained and read right behind the prompt"
            )
    closing, stop = _closing(tokenizer, closing_text)
    markup = {closing[-1], *_added(tokenizer, between)}
    if stop:
        remarks.append(
            f"it ends turns with {stop!r}, which is no token of the vocabulary: the end token is trained instead"
        )
    elif not closing_text.strip():
        remarks.append(f"it does not end an assistant's turn: {tokenizer.decode(closing)!r}, the end token, is trained")
    remarks += _additions(tokenizer, prompt, between.removeprefix(closing_text), parts)
    lead = (
        "" if stop else closing_text.partition(str(tokenizer.decode(closing[-1:])))[0] if closing_text.strip() else ""
    )
    context = _context(tokenizer, prompt + opening)
    return Turn(opening, context, tuple(closing), lead, stop, frozenset(markup), parts, tuple(remarks))


def _prompt(tokenizer: PreTrainedTokenizerFast, asked: dict[str, str]) -> tuple[bool, str]:
    """Whether content goes in parts, and a prompt."""
    failed: ModelError | None = None
    for parts in (False, True):
        try:
            text = rendered(tokenizer, [asked], parts=parts, ask=True)
        except ModelError as error:
            failed = failed or error
            continue
        if _ASKED in text:
            return parts, text
    if failed is not None:
        raise failed
    raise ModelError(
        f"{_name(tokenizer)}, field 'chat_template': its prompts do not hold what the user asks. Correct it, or set "
        "`chat_template` beside `model` to a Jinja file that writes each message's content."
    )


def _try(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], parts: bool) -> str | None:
    try:
        return rendered(tokenizer, messages, parts=parts)
    except ModelError:
        return None


def _closing(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[list[int], str]:
    """Tokens that end a turn whose content `text` follows; and the text that does where it holds no such token."""
    assert tokenizer.eos_token_id is not None, "load_tokenizer refuses tokenizers without EOS"
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids if text else []
    added = set(_added(tokenizer, text))
    for place, token in enumerate(ids):
        if token in added:
            return ids[: place + 1], ""
    # Markup that is a token, though no special one, ends a turn too; a word or a rule of dashes could be a response's.
    markup = text.strip()
    one = tokenizer(markup, add_special_tokens=False).input_ids if markup[:1] + markup[-1:] in ("<>", "[]") else []
    return (one, "") if len(one) == 1 else ([tokenizer.eos_token_id], markup)


def _added(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The special and added tokens in a text."""
    # Some tokenizers (Gemma, GPT-NeoX) have runs of spaces and line breaks among their added tokens.
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    known = set(tokenizer.all_special_ids) | added
    return [one for one in tokenizer(text, add_special_tokens=False).input_ids if one in known] if text else []


def _context(tokenizer: PreTrainedTokenizerFast, prompt: str) -> str:
    """The end of a prompt that responses have to be tokenized behind to get the tokens that they have there."""
    whole = tokenizer(prompt + _ANSWERED, add_special_tokens=False).input_ids
    alone = tokenizer(_ANSWERED, add_special_tokens=False).input_ids
    before = tokenizer(prompt, add_special_tokens=False).input_ids
    if whole == before + alone or whole[: len(before)] != before:
        return ""
    last = max((prompt.rfind(str(tokenizer.decode([one]))) for one in _added(tokenizer, prompt)), default=-1)
    tail = prompt[max(0, last) :]
    start = tokenizer(tail, add_special_tokens=False).input_ids
    behind = tokenizer(tail + _ANSWERED, add_special_tokens=False).input_ids
    return tail if behind[: len(start)] == start and behind[len(start) :] == whole[len(before) :] else ""


def _additions(tokenizer: PreTrainedTokenizerFast, prompt: str, heading: str, parts: bool) -> list[str]:
    """What a template adds to a prompt and takes from it."""
    found = []
    before = prompt[: prompt.index(_ASKED)]
    if not before.endswith(heading):  # where every user's turn begins with the token that begins a text, this one does
        heading = heading.removeprefix(tokenizer.bos_token or "")
    extra = before.removesuffix(heading)
    if heading.strip() and extra != before and extra.strip() and extra != tokenizer.bos_token:
        found.append(f"it begins every conversation with {extra!r}")
    if "strftime_now" in str(tokenizer.chat_template):
        found.append(f"it writes the date, which is always {_DAY:%d %b %Y} here")
    spaced = f"  {_ASKED} \n"
    text = rendered(tokenizer, [{"role": "user", "content": spaced}], parts=parts, ask=True)
    if spaced not in text:
        found.append("it trims what is said")
    return found


def _both(tokenizer: PreTrainedTokenizerFast, one: str, other: str) -> str:
    """What both texts begin with, in whole tokens or, without special ones, in whole lines: no half of an opening."""
    ids = [tokenizer(text, add_special_tokens=False).input_ids if text else [] for text in (one, other)]
    count = next((at for at, pair in enumerate(zip(*ids, strict=False)) if pair[0] != pair[1]), min(map(len, ids)))
    text = str(tokenizer.decode(ids[0][:count], clean_up_tokenization_spaces=False))
    if not one.startswith(text):  # a tokenizer that adds a space in front
        text = _common(one, other)
    return text if _added(tokenizer, text) else "".join(text.partition("\n")[:2]) if "\n" in text else ""


def _common(one: str, other: str) -> str:
    """What both texts begin with."""
    length = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return one[:length] if length is not None else min(one, other, key=len)


def _tail(text: str, other: str) -> str:
    return text[len(_common(text, other)) :]


def _name(tokenizer: PreTrainedTokenizerFast) -> str:
    return f"{tokenizer.name_or_path or 'the tokenizer'}/tokenizer_config.json"


def _roles(messages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(one["role"]) for one in messages)
