"""Stage `reward_examples`: label the responses to one part of the prompts, where responses lie in several shards."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from retort.config.data import AnswerType
from retort.config.run import TEACHER
from retort.errors import InputError
from retort.io.files import atomic_path
from retort.io.progress import Progress
from retort.io.tables import PROMPTS, RESPONSES, REWARD_EXAMPLES, VOTES, Rows, read_columns, read_rows, write_rows
from retort.run.stage import Context
from retort.stages.judgements import Judged
from retort.text.agreement import stated
from retort.text.finish_reasons import is_whole
from retort.text.gold import readable_gold

SPLITS = ("train", "validation")


class Part(NamedTuple):
    """One of several parts of the prompts: every `of`-th one, as responses are divided among shards."""

    number: int
    of: int


class Said(NamedTuple):
    """A response, as far as an example needs it."""

    source: str
    response: str
    finish_reason: str


@dataclass(frozen=True)
class RewardExamplesResult:
    """What was left out of one part; the examples themselves are counted by `reward_data`."""

    duplicates: int
    """Training examples left out because the same response to the same prompt is there already."""
    over_cap: int
    """Examples left out because their prompt and source had `max_per_prompt` already."""
    abstained: int
    """Responses left out because the vote on their prompt abstains."""


def run(context: Context) -> RewardExamplesResult:
    """Write the labelled examples of this part.

    Raises:
        InputError: an input is missing or malformed, or a response belongs to no prompt.
    """
    reward, number = context.task.values["reward"], int(context.task.values["shard"])
    part = Part(number, context.config.reward_parts(reward))
    tally: Counter[str] = Counter()
    with atomic_path(context.paths.reward_examples(reward, number)) as folder:
        folder.mkdir()
        write_part(context, part, folder, tally)
    return RewardExamplesResult(tally["duplicates"], tally["over_cap"], tally["abstained"])


def write_part(context: Context, part: Part, folder: Path, tally: Counter[str], judged: Judged | None = None) -> None:
    """Write a table of each split's examples: of training those that differ, of both at most `max_per_prompt` a source.

    Args:
        context: The stage's.
        part: Which prompts.
        folder: Where the tables go; it exists.
        tally: Counts what is left out.
        judged: What a judge makes of each response, where it labels them.

    Raises:
        InputError: an input is missing or malformed, or a response belongs to no prompt.
    """
    prompts = {split: list(prompts_of(context, split, part)) for split in SPLITS}
    mine = {row["prompt_id"] for rows in prompts.values() for row in rows}
    labels = {
        row["prompt_id"]: row["label"]
        for row in read_rows(context.paths.votes, VOTES, columns=["prompt_id", "label"])
        if row["prompt_id"] in mine
    }
    responses = responses_of(context, part, mine)
    for split, rows in prompts.items():
        with Progress(f"{split} examples", total=len(rows), unit="prompts") as progress:

            def examples(rows: Rows = rows, split: str = split, progress: Progress = progress) -> Iterator[Rows]:
                for row in rows:
                    progress.update()
                    name = row["prompt_id"]
                    said = responses.pop(name, [])
                    yield _of_prompt(context, row, labels.get(name), said, tally, judged, distinct=split == "train")

            write_rows(folder / f"{split}.parquet", chain.from_iterable(examples()), REWARD_EXAMPLES)


def prompts_of(context: Context, split: str, part: Part) -> Iterator[dict[str, Any]]:
    """The prompts of a split that belong to a part."""
    before = 0 if split == "train" else sum(1 for _ in prompt_ids(context, "train"))
    for place, row in enumerate(read_rows(context.paths.prompts(split), PROMPTS), start=before):
        if place % part.of == part.number:
            yield row


def prompt_ids(context: Context, split: str) -> Iterator[str]:
    """Ids of the prompts of a split, in order."""
    for batch in read_columns(context.paths.prompts(split), PROMPTS, columns=["prompt_id"]):
        yield from batch["prompt_id"]


def sources_of(context: Context) -> list[str]:
    """Whose responses the reward learns from."""
    names: list[str] = context.config.reward_settings(context.task.values["reward"]).responses
    return names


def responses_of(context: Context, part: Part, mine: set[str]) -> dict[str, list[Said]]:
    """Responses by prompt: model by model as the reward names them, each in the order they were written.

    A model whose shards are as many as the parts has its responses to this part in one of them.
    """
    others: set[str] = set()
    if part.of > 1:
        others = {name for split in SPLITS for name in prompt_ids(context, split)} - mine
    found: dict[str, list[Said]] = {}
    for name in sources_of(context):
        stage = "teacher_responses" if name == TEACHER else "student_responses"
        shards = getattr(context.config, stage).shards
        own = len(shards) == part.of
        for shard in [part.number] if own else shards:
            path, number = context.paths.responses(name, shard), 0
            columns = ["prompt_id", "source", "response", "finish_reason"]
            for batch in read_columns(path, RESPONSES, columns=columns):
                for prompt_id, source, response, reason in zip(*(batch[key] for key in columns), strict=True):
                    number += 1
                    if prompt_id in mine:
                        said = Said(sys.intern(source), response, sys.intern(reason))
                        found.setdefault(prompt_id, []).append(said)
                    elif own or prompt_id not in others:
                        where = "prompt of this shard" if prompt_id in others else "train or validation prompt"
                        raise InputError(
                            f"{prompt_id!r} is no {where}",
                            file=path,
                            row=number,
                            field="prompt_id",
                            remedy=f"The responses belong to other prompts: run {stage} again",
                        )
    return found


def _of_prompt(
    context: Context,
    prompt: dict[str, Any],
    label: str | None,
    responses: list[Said],
    tally: Counter[str],
    judged: Judged | None,
    *,
    distinct: bool,
) -> Rows:
    if label is None:
        tally["abstained"] += len(responses)
        return []
    seen: set[tuple[str, bool]] = set()
    examples: Rows = []
    for said in responses:
        finished = is_whole(said.finish_reason)
        if distinct and (said.response, finished) in seen:
            tally["duplicates"] += 1
            continue
        seen.add((said.response, finished))
        if judged is None:
            examples.append(_example(prompt, label, said, finished, context.config.answer))
        elif (agrees := judged.get((prompt["prompt_id"], said.response), False)) is None:
            tally["undecided"] += 1
        else:
            examples.append(_row(prompt, said, finished, label=agrees, correct=None))
    return _capped(context, examples, tally)


def _example(prompt: Mapping[str, Any], label: str, said: Said, finished: bool, kind: AnswerType) -> dict[str, Any]:
    read, gold = stated(said.response, kind), prompt["answer"]
    correct = None if gold is None or not readable_gold(gold, kind) else read.agrees(gold)
    return _row(prompt, said, finished, label=read.agrees(label), correct=correct)


def _row(prompt: Mapping[str, Any], said: Said, finished: bool, *, label: bool, correct: bool | None) -> dict[str, Any]:
    return {
        "prompt_id": prompt["prompt_id"],
        "prompt": prompt["prompt"],
        "response": said.response,
        "source": said.source,
        "finished": finished,
        "label": int(label),
        "correct": correct,
    }


def _capped(context: Context, examples: Rows, tally: Counter[str]) -> Rows:
    most = context.config.reward_data.max_per_prompt
    if most is None:
        return examples
    kept: set[int] = set()
    for source in sources_of(context):
        places = [place for place, example in enumerate(examples) if example["source"] == source]
        if len(places) > most:
            places.sort(key=lambda place: rank(context.config.seed, examples[place], place))
            tally["over_cap"] += len(places) - most
        kept.update(places[:most])
    return [example for place, example in enumerate(examples) if place in kept]


def rank(seed: int, example: Mapping[str, Any], place: int) -> bytes:
    """What decides which examples are left out: a hash of seed, place and content."""
    text = f"{seed}\0{place}\0{example['prompt_id']}\0{example['source']}\0{example['response']}"
    return hashlib.sha256(text.encode()).digest()
