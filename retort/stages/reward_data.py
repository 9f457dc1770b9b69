"""Stage `reward_data`: teacher and student responses, labelled right or wrong by the vote."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from retort.config.data import AnswerType
from retort.config.run import TEACHER
from retort.errors import InputError
from retort.io.files import atomic_path
from retort.io.progress import Progress
from retort.io.tables import PROMPTS, RESPONSES, REWARD_EXAMPLES, VOTES, Rows, read_table, write_table
from retort.judge.ask import Pair, Record
from retort.judge.elect import agree_with
from retort.modeling.conversations import shown
from retort.run.stage import Context
from retort.stages.judgements import Judged, read_judged
from retort.stages.judging import JudgeFigures, figures_of, judging, write_calls
from retort.text.agreement import stated
from retort.text.finish_reasons import is_whole
from retort.text.gold import readable_gold


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
    on seed and content alone.

    Raises:
        InputError: an input is missing or malformed, a response belongs to no prompt, or a set has one class.
    """
    tally: Counter[str] = Counter()
    votes = {row["prompt_id"]: row for row in read_table(context.paths.votes, VOTES)}
    prompts = {split: read_table(context.paths.prompts(split), PROMPTS) for split in ("train", "validation")}
    known = {row["prompt_id"] for rows in prompts.values() for row in rows}
    responses = _responses(context, known)
    judged, record, figures = _judged(context, prompts, votes, responses)
    tables: dict[str, Rows] = {}
    for split, rows in prompts.items():
        examples: Rows = []
        with Progress(f"{split} examples", total=len(rows), unit="prompts") as progress:
            for row in rows:
                progress.update()
                examples += _of_prompt(
                    context,
                    row,
                    votes.get(row["prompt_id"]),
                    responses[row["prompt_id"]],
                    tally,
                    judged,
                    distinct=split == "train",
                )
        tables[split] = _balanced(context, examples, tally) if split == "train" else examples
    for split, table in tables.items():
        _check_classes(context, split, table)
    with atomic_path(context.paths.reward_data(context.task.values["reward"], "train").parent) as temporary:
        temporary.mkdir()
        for split, table in tables.items():
            write_table(temporary / f"{split}.parquet", table, REWARD_EXAMPLES)
        if record is not None:
            write_calls(temporary / "calls.parquet", record)
    return _result(tables, tally, figures, _read(context))


def _judged(
    context: Context, prompts: dict[str, Rows], votes: dict[str, dict[str, Any]], responses: dict[str, Rows]
) -> tuple[Judged | None, Record | None, JudgeFigures | None]:
    """What a judge makes of each response to open-ended prompts: the teacher's as voted on, the student's asked now."""
    if context.config.answer != "open":
        return None, None, None
    judged = dict(read_judged(context))
    asked = [
        Pair(row["prompt_id"], shown(row["prompt"]), response["response"], votes[row["prompt_id"]]["label"])
        for rows in prompts.values()
        for row in rows
        if row["prompt_id"] in votes and votes[row["prompt_id"]]["label"] is not None
        for response in responses[row["prompt_id"]]
        if (row["prompt_id"], response["response"]) not in judged
    ]
    asked = list(dict.fromkeys(asked))
    with judging(context) as judge:
        found = agree_with(judge, asked)
        figures = figures_of(judge)
    judged.update({(one.prompt_id, one.first): agrees for one, agrees in zip(asked, found, strict=True)})
    return judged, judge.record, figures


def _read(context: Context) -> list[str]:
    """Whose responses the reward learns from."""
    names: list[str] = context.config.reward_settings(context.task.values["reward"]).responses
    return names


def _responses(context: Context, known: set[str]) -> dict[str, Rows]:
    """Responses by prompt: model by model as the reward names them, each in the order they were written."""
    found: dict[str, Rows] = defaultdict(list)
    for name in _read(context):
        stage = "teacher_responses" if name == TEACHER else "student_responses"
        for shard in getattr(context.config, stage).shards:
            path = context.paths.responses(name, shard)
            rows = read_table(path, RESPONSES, columns=["prompt_id", "source", "response", "finish_reason"])
            for number, row in enumerate(rows, start=1):
                if row["prompt_id"] not in known:
                    raise InputError(
                        f"{row['prompt_id']!r} is no train or validation prompt",
                        file=path,
                        row=number,
                        field="prompt_id",
                        remedy=f"The responses belong to other prompts: run {stage} again",
                    )
                found[row["prompt_id"]].append(row)
    return found


def _of_prompt(
    context: Context,
    prompt: dict[str, Any],
    vote: dict[str, Any] | None,
    responses: Rows,
    tally: Counter[str],
    judged: Judged | None,
    *,
    distinct: bool,
) -> Rows:
    if vote is None or vote["label"] is None:
        tally["abstained"] += len(responses)
        return []
    seen: set[tuple[str, bool]] = set()
    examples: Rows = []
    for response in responses:
        finished = is_whole(response["finish_reason"])
        if distinct and (response["response"], finished) in seen:
            tally["duplicates"] += 1
            continue
        seen.add((response["response"], finished))
        if judged is None:
            examples.append(_example(prompt, vote["label"], response, finished, context.config.answer))
        elif (agrees := judged.get((prompt["prompt_id"], response["response"]), False)) is None:
            tally["undecided"] += 1
        else:
            examples.append(_row(prompt, response, finished, label=agrees, correct=None))
    return _capped(context, examples, tally)


def _example(
    prompt: dict[str, Any], label: str, response: dict[str, Any], finished: bool, kind: AnswerType
) -> dict[str, Any]:
    said, gold = stated(response["response"], kind), prompt["answer"]
    correct = None if gold is None or not readable_gold(gold, kind) else said.agrees(gold)
    return _row(prompt, response, finished, label=said.agrees(label), correct=correct)


def _row(
    prompt: dict[str, Any], response: dict[str, Any], finished: bool, *, label: bool, correct: bool | None
) -> dict[str, Any]:
    return {
        "prompt_id": prompt["prompt_id"],
        "prompt": prompt["prompt"],
        "response": response["response"],
        "source": response["source"],
        "finished": finished,
        "label": int(label),
        "correct": correct,
    }


def _capped(context: Context, examples: Rows, tally: Counter[str]) -> Rows:
    most = context.config.reward_data.max_per_prompt
    if most is None:
        return examples
    kept: set[int] = set()
    for source in _read(context):
        places = [place for place, example in enumerate(examples) if example["source"] == source]
        if len(places) > most:
            places.sort(key=lambda place: _rank(context.config.seed, examples[place], place))
            tally["over_cap"] += len(places) - most
        kept.update(places[:most])
    return [example for place, example in enumerate(examples) if place in kept]


def _balanced(context: Context, examples: Rows, tally: Counter[str]) -> Rows:
    if not context.config.reward_data.balance:
        return examples
    places: dict[int, list[int]] = {0: [], 1: []}
    for place, example in enumerate(examples):
        places[example["label"]].append(place)
    least = min(len(some) for some in places.values())
    if not least:
        return examples
    kept: set[int] = set()
    for some in places.values():
        some.sort(key=lambda place: _rank(context.config.seed, examples[place], place))
        kept.update(some[:least])
    tally["dropped_for_balance"] = len(examples) - len(kept)
    return [example for place, example in enumerate(examples) if place in kept]


def _rank(seed: int, example: dict[str, Any], place: int) -> bytes:
    text = f"{seed}\0{place}\0{example['prompt_id']}\0{example['source']}\0{example['response']}"
    return hashlib.sha256(text.encode()).digest()


def _check_classes(context: Context, split: str, table: Rows) -> None:
    labels = Counter(example["label"] for example in table)
    if len(labels) < 2:
        if not table:
            problem = "would hold no example: the vote abstains on every prompt of this split that has responses"
        else:
            problem = f"all {len(table)} examples would have label {next(iter(labels))}; a reward model needs both"
        raise InputError(
            problem,
            file=context.paths.reward_data(context.task.values["reward"], split),
            field="label",
            remedy="Sample more responses, at higher temperatures, add prompts of middling difficulty, or loosen "
            "votes.min_share and votes.min_margin",
        )


def _result(
    tables: dict[str, Rows], tally: Counter[str], judge: JudgeFigures | None, sources: list[str]
) -> RewardDataResult:
    by_source: dict[str, dict[str, float]] = {}
    for split, table in tables.items():
        for source in sources:
            labels = [example["label"] for example in table if example["source"] == source]
            if labels:
                by_source[f"{split}/{source}"] = {"examples": len(labels), "positive_share": sum(labels) / len(labels)}
    judged = [
        bool(example["label"]) == example["correct"]
        for table in tables.values()
        for example in table
        if example["correct"] is not None
    ]
    return RewardDataResult(
        train=len(tables["train"]),
        validation=len(tables["validation"]),
        train_positive_share=_positive_share(tables["train"]),
        validation_positive_share=_positive_share(tables["validation"]),
        by_source=by_source,
        duplicates=tally["duplicates"],
        over_cap=tally["over_cap"],
        dropped_for_balance=tally["dropped_for_balance"],
        abstained=tally["abstained"],
        undecided=tally["undecided"],
        judge=judge,
        label_accuracy=sum(judged) / len(judged) if judged else None,
    )


def _positive_share(table: Rows) -> float:
    return sum(int(example["label"]) for example in table) / len(table)
