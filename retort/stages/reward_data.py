"""Stage `reward_data`: teacher and student responses, labelled right or wrong by the vote."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.errors import InputError
from retort.io.files import atomic_path
from retort.io.tables import PROMPTS, REWARD_EXAMPLES, VOTES, read_rows, read_table, write_rows
from retort.judge.ask import Pair, Record
from retort.judge.elect import agree_with
from retort.modeling.conversations import shown
from retort.run.stage import Context
from retort.stages.judgements import Judged, read_judged
from retort.stages.judging import JudgeFigures, figures_of, judging, write_calls
from retort.stages.reward_examples import SPLITS, Part, prompt_ids, rank, responses_of, sources_of, write_part


@dataclass(frozen=True)
class RewardDataResult:
    """Sizes, base rates, and how often the labels are true where that is known."""

    train: int
    validation: int
    train_positive_share: float
    validation_positive_share: float
    by_source: dict[str, dict[str, float]]
    """`train/teacher` and so on: examples and share of positive labels."""
    duplicates: int
    """Training examples left out because the same response to the same prompt is there already."""
    over_cap: int
    """Examples left out because their prompt and source had `max_per_prompt` already."""
    dropped_for_balance: int
    abstained: int
    """Responses left out because the vote on their prompt abstains."""
    undecided: int
    """Responses to open-ended prompts left out because the judge did not decide."""
    label_accuracy: float | None
    """Share of labels that agree with the gold answer, over examples with one."""
    judge: JudgeFigures | None = None
    """Where a judge labelled the student's responses: how far it can be trusted."""


def run(context: Context) -> RewardDataResult:
    """Write labelled examples: train-split prompts to train, validation-split prompts to validation.

    Training examples are distinct; all are used unless the configuration caps or balances them. Validation examples are
    at most capped, so that they keep the frequencies in which models really answer. Which examples are left out depends
    on seed and content alone, and not on how many shards the responses lie in. Examples are read one after another.

    Raises:
        InputError: an input is missing or malformed, a response belongs to no prompt, or a set has one class.
    """
    reward = context.task.values["reward"]
    parts, tally = context.config.reward_parts(reward), Counter[str]()
    record, figures = None, None
    counts = {split: _Counted() for split in SPLITS}
    with atomic_path(context.paths.reward_data(reward, "train").parent) as temporary:
        temporary.mkdir()
        folders = [context.paths.reward_examples(reward, part) for part in range(parts)]
        if parts == 1:  # labelled here; of several parts the tasks `reward_examples` have labelled each
            judged, record, figures = _judged(context)
            folders = [temporary / "part-0"]
            folders[0].mkdir()
            write_part(context, Part(0, 1), folders[0], tally, judged)
        else:
            for part in range(parts):
                tally.update(json.loads(context.paths.metrics(f"reward_examples-{reward}-{part}").read_text("utf-8")))
        for split in SPLITS:
            kept = _balanced(context, lambda split=split: _merged(context, split, folders), tally, split)  # type: ignore[misc]
            rows = (
                counts[split].take(row)
                for place, row in enumerate(_merged(context, split, folders))
                if kept is None or kept[place]
            )
            write_rows(temporary / f"{split}.parquet", rows, REWARD_EXAMPLES)
            _check_classes(context, split, counts[split])
        if parts == 1:
            _remove_part(folders[0])
        if record is not None:
            write_calls(temporary / "calls.parquet", record)
    return _result(counts, tally, figures, sources_of(context))


def _remove_part(folder: Path) -> None:
    for split in SPLITS:
        (folder / f"{split}.parquet").unlink()
    folder.rmdir()


def _judged(context: Context) -> tuple[Judged | None, Record | None, JudgeFigures | None]:
    """What a judge makes of each response to open-ended prompts: the teacher's as voted on, the student's asked now."""
    if context.config.answer != "open":
        return None, None, None
    judged = dict(read_judged(context))
    labels = {row["prompt_id"]: row["label"] for row in read_table(context.paths.votes, VOTES)}
    prompts = [row for split in SPLITS for row in read_table(context.paths.prompts(split), PROMPTS)]
    responses = responses_of(context, Part(0, 1), {row["prompt_id"] for row in prompts})
    asked = [
        Pair(row["prompt_id"], shown(row["prompt"]), said.response, label)
        for row in prompts
        if (label := labels.get(row["prompt_id"])) is not None
        for said in responses.get(row["prompt_id"], [])
        if (row["prompt_id"], said.response) not in judged
    ]
    asked = list(dict.fromkeys(asked))
    with judging(context) as judge:
        found = agree_with(judge, asked)
        figures = figures_of(judge)
    judged.update({(one.prompt_id, one.first): agrees for one, agrees in zip(asked, found, strict=True)})
    return judged, judge.record, figures


def _merged(context: Context, split: str, folders: list[Path]) -> Iterator[dict[str, Any]]:
    """The examples of all parts in the order of the prompts, as one part would hold them."""
    parts = [
        groupby(read_rows(folder / f"{split}.parquet", REWARD_EXAMPLES), key=lambda row: row["prompt_id"])
        for folder in folders
    ]
    waiting = [next(part, None) for part in parts]
    before = 0 if split == "train" else sum(1 for _ in prompt_ids(context, "train"))
    for place, name in enumerate(prompt_ids(context, split), start=before):
        number = place % len(parts)
        group = waiting[number]
        if group is not None and group[0] == name:
            yield from group[1]
            waiting[number] = next(parts[number], None)
    for group, folder in zip(waiting, folders, strict=True):
        if group is not None:
            raise InputError(
                f"{group[0]!r} is no {split} prompt, or stands in another order",
                file=folder / f"{split}.parquet",
                field="prompt_id",
                remedy="Run reward_examples again (`retort run` does so when needed)",
            )


def _balanced(
    context: Context, examples: Callable[[], Iterator[dict[str, Any]]], tally: Counter[str], split: str
) -> NDArray[np.bool_] | None:
    """Which training examples are kept, so that both labels are as frequent; None for all."""
    if split != "train" or not context.config.reward_data.balance:
        return None
    labels, ranks = array("b"), array("Q")
    for place, example in enumerate(examples()):
        labels.append(example["label"])
        # The first eight bytes order as the whole would, and of ten million examples fit into memory.
        ranks.append(int.from_bytes(rank(context.config.seed, example, place)[:8], "big"))
    which = np.frombuffer(labels, dtype=np.int8) if labels else np.zeros(0, dtype=np.int8)
    order = np.frombuffer(ranks, dtype=np.uint64) if ranks else np.zeros(0, dtype=np.uint64)
    places = [np.flatnonzero(which == label) for label in (0, 1)]
    least = min(map(len, places))
    if not least:
        return None
    kept = np.zeros(len(which), dtype=np.bool_)
    for some in places:
        kept[some[np.argsort(order[some], kind="stable")[:least]]] = True
    tally["dropped_for_balance"] = len(which) - int(kept.sum())
    return kept


class _Counted:
    """What the metrics say of the examples of a split, as they go by."""

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()
        self.sources: Counter[str] = Counter()
        self.positive: Counter[str] = Counter()
        self.known = 0
        self.true = 0

    def take(self, example: dict[str, Any]) -> dict[str, Any]:
        label, source = example["label"], example["source"]
        self.labels[label] += 1
        self.sources[source] += 1
        self.positive[source] += label
        if example["correct"] is not None:
            self.known += 1
            self.true += bool(label) == example["correct"]
        return example

    @property
    def positive_share(self) -> float:
        return self.labels[1] / self.labels.total()


def _check_classes(context: Context, split: str, counted: _Counted) -> None:
    if len(counted.labels) < 2:
        if not counted.labels:
            problem = "would hold no example: the vote abstains on every prompt of this split that has responses"
        else:
            total = counted.labels.total()
            problem = f"all {total} examples would have label {next(iter(counted.labels))}; a reward model needs both"
        raise InputError(
            problem,
            file=context.paths.reward_data(context.task.values["reward"], split),
            field="label",
            remedy="Sample more responses, at higher temperatures, add prompts of middling difficulty, or loosen "
            "votes.min_share and votes.min_margin",
        )


def _result(
    counts: dict[str, _Counted], tally: Counter[str], judge: JudgeFigures | None, sources: list[str]
) -> RewardDataResult:
    by_source = {
        f"{split}/{source}": {"examples": total, "positive_share": counted.positive[source] / total}
        for split, counted in counts.items()
        for source in sources
        if (total := counted.sources[source])
    }
    known = sum(counted.known for counted in counts.values())
    return RewardDataResult(
        train=counts["train"].labels.total(),
        validation=counts["validation"].labels.total(),
        train_positive_share=counts["train"].positive_share,
        validation_positive_share=counts["validation"].positive_share,
        by_source=by_source,
        duplicates=tally["duplicates"],
        over_cap=tally["over_cap"],
        dropped_for_balance=tally["dropped_for_balance"],
        abstained=tally["abstained"],
        undecided=tally["undecided"],
        judge=judge,
        label_accuracy=sum(counted.true for counted in counts.values()) / known if known else None,
    )
