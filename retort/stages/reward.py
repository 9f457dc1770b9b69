"""Stage `reward`: train the reward model, measure it on held-out prompts, and decide whether PPO may use it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retort.config.run import TEACHER
from retort.config.training import RewardConfig
from retort.errors import InputError
from retort.io.files import atomic_path
from retort.io.tables import REWARD_EXAMPLES, REWARD_PREDICTIONS, Rows, read_columns, read_rows, write_table
from retort.modeling.loading import model_size
from retort.run.stage import Context

if TYPE_CHECKING:
    from retort.rewards.learned.examples import Examples
    from retort.rewards.learned.model import RewardModel
    from retort.rewards.learned.quality import Quality


@dataclass(frozen=True)
class OfLength:
    """Figures of the responses of a third of all lengths, in the trunk's tokens."""

    shortest: int
    longest: int
    quality: Quality


@dataclass(frozen=True)
class RewardResult:
    """Metrics of the reward model, on held-out prompts that chose nothing."""

    gate_passed: bool
    gate_reasons: list[str]
    auc: float | None
    accuracy: float
    brier: float
    calibration_error: float
    n: int
    intervals: dict[str, list[float]]
    """95 % interval of each of these figures, prompts resampled with their responses."""
    by_source: dict[str, Quality]
    """The same figures for the responses of the teacher and of each student apart."""
    by_length: list[OfLength]
    """The same for the shortest, middle and longest third of responses."""
    truth: Quality | None
    """The scores against gold answers instead of pseudo-labels, where they are known."""
    step: int
    """Training step that was kept."""
    temperature: float
    bias: float
    train_examples: int
    flops: float
    """Training compute of the trunk, 6 x parameters x tokens, and the likelihood models' 2 x parameters x tokens."""


def run(context: Context) -> RewardResult:
    """Train and gate the reward model.

    Raises:
        InputError: a table is empty or has one class only, or too little of it is short enough.
        ModelError: a model cannot be loaded, or gives a likelihood that is not a finite number.
        TrainingError: training met a number that is not finite.
    """
    import torch

    from retort.rewards.learned.examples import prepare
    from retort.rewards.learned.halves import held_out_part
    from retort.rewards.learned.train import rows_of_a_pass

    config, name, paths, state = _settings(context), context.task.values["reward"], context.paths, context.state()
    tables = {split: paths.reward_data(name, split) for split in ("train", "validation")}
    for table in tables.values():
        check_classes(table)
    torch.manual_seed(context.config.seed)
    model = build(context)
    train = prepare(
        model,
        read_rows(tables["train"], REWARD_EXAMPLES),
        config.max_length,
        folder=state,
        every_token=config.loss == "every_token",
    )
    held = prepare(model, read_rows(tables["validation"], REWARD_EXAMPLES), config.max_length, folder=state)
    parts = [held_out_part(row["prompt_id"]) for row in held.rows]
    _check(context, train, held, parts)
    select = held.only([i for i, part in enumerate(parts) if part == "select"])
    step = fit(context, model, train, select, state=state, curves_folder=paths.curves(name))
    scores = model.score_tokens(held.tokens, held.features, batch_size=rows_of_a_pass(config)).tolist()
    predictions = [
        {
            **{key: row[key] for key in ("prompt_id", "response", "source", "label", "correct")},
            "score": score,
            "part": part,
        }
        for row, score, part in zip(held.rows, scores, parts, strict=True)
    ]
    with atomic_path(paths.reward(name)) as folder:
        folder.mkdir()
        model.save(folder)
        write_table(folder / "validation.parquet", predictions, REWARD_PREDICTIONS)
    return _result(context, model, step, train, held, predictions)


def _settings(context: Context) -> RewardConfig:
    found: RewardConfig = context.config.reward_settings(context.task.values["reward"])
    return found


def fit(
    context: Context, model: RewardModel, train: Examples, select: Examples, *, state: Path, curves_folder: Path
) -> int:
    """Train and calibrate `model` in place, with adapters in its trunk where asked for; the step that was kept."""
    from retort.modeling.lora import with_adapters
    from retort.rewards.learned.train import train_reward

    config = _settings(context)
    if config.lora:
        model.adapt(with_adapters(model.trunk, config.lora))
    return train_reward(
        model, train, select, config, seed=context.config.seed, state=state, curves_folder=curves_folder
    )


def check_classes(path: Path) -> None:
    """Refuse a table of labelled examples with fewer than two classes."""
    labels = Counter(
        label for columns in read_columns(path, REWARD_EXAMPLES, columns=["label"]) for label in columns["label"]
    )
    if len(labels) < 2:
        raise InputError(
            f"holds {labels.total()} examples of {len(labels)} class(es); two are needed",
            file=path,
            field="label",
            remedy="Sample more responses or at a higher temperature, so that right and wrong ones both occur",
        )


def _check(context: Context, train: Examples, held: Examples, parts: list[str]) -> None:
    """Refuse tables of which too little is left to train on, to choose the step by, or to measure the gate on."""
    paths, name, longest = context.paths, context.task.values["reward"], _settings(context).max_length
    labels = sorted({int(label) for label in train.labels.unique()})
    if len(labels) < 2:
        short = f"of at most {longest} tokens"
        raise InputError(
            f"holds only label {labels[0]} among examples {short}" if labels else f"holds no example {short}",
            file=paths.reward_data(name, "train"),
            field="label" if labels else "response",
            remedy="Raise reward.max_length",
        )
    for part, purpose in (("select", "choose the step by"), ("gate", "measure the gate on")):
        found = sorted({int(label) for label, mine in zip(held.labels, parts, strict=True) if mine == part})
        # The gate itself says that one label tells nothing; a step cannot be chosen, nor calibration fitted, by one.
        if len(found) < (2 if part == "select" else 1):
            raise InputError(
                f"leaves no prompt to {purpose}" if not found else f"leaves one label ({found[0]}) to {purpose}",
                file=paths.reward_data(name, "validation"),
                field="prompt_id" if not found else "label",
                remedy="Hold more prompts out (prompts.validation), or raise reward.max_length",
            )


def build(context: Context) -> RewardModel:
    """The untrained reward model: trunk and likelihood models as the configuration names them, and a random head."""
    from retort.modeling.loading import load_model, load_tokenizer
    from retort.rewards.learned.model import RewardModel, load_likelihood_models

    config, paths = _settings(context), context.paths
    trunk = load_model(paths.model(config.trunk))
    return RewardModel(
        trunk,
        load_tokenizer(paths.model(config.trunk), training=False),
        load_likelihood_models({name: paths.model(name) for name in config.likelihood}),
        head_size=config.head_size,
        init=config.trunk,
        name=context.task.values["reward"],
    ).to(trunk.device)


def quality(rows: Rows, field: str = "label") -> Quality:
    """Figures of scored rows against one of their fields, with intervals."""
    from retort.rewards.learned.quality import measure

    return measure(
        [int(row[field]) for row in rows], [row["score"] for row in rows], [row["prompt_id"] for row in rows]
    )


def _by_length(rows: Rows, lengths: list[int]) -> list[OfLength]:
    """Figures by thirds of the responses; equal lengths stay together, so thirds may differ in size or be missing."""
    ordered = sorted(lengths)
    bounds = [ordered[len(ordered) * third // 3 - 1] for third in (1, 2, 3) if len(ordered) * third >= 3]
    found, above = [], -1
    for bound in dict.fromkeys(bounds):
        inside = [row for row, length in zip(rows, lengths, strict=True) if above < length <= bound]
        shortest = min(length for length in lengths if length > above)
        found.append(OfLength(shortest, bound, quality(inside)))
        above = bound
    return found


def _decisive(gate: Rows, by_source: dict[str, Quality], min_per_class: int) -> Quality:
    """The figures that the gate is held to.

    RL shows the reward model responses of students: those decide. Where they have one label they can decide nothing:
    the gate stays shut, or with `min_per_class` 0 the teacher's stand in.
    """
    rows = [row for row in gate if row["source"] != TEACHER]
    if not rows:
        return quality(gate)
    students = [found for name, found in by_source.items() if name != TEACHER]
    student = students[0] if len(students) == 1 else quality(rows)
    return by_source.get(TEACHER, student) if student.auc is None and min_per_class == 0 else student


def _result(
    context: Context, model: RewardModel, step: int, train: Examples, held: Examples, predictions: Rows
) -> RewardResult:
    from retort.rewards.learned.quality import gate_reasons

    config = _settings(context)
    places = [place for place, row in enumerate(predictions) if row["part"] == "gate"]
    gate = [predictions[place] for place in places]
    every = dict.fromkeys(row["source"] for row in gate)
    sources = {name: [row for row in gate if row["source"] == name] for name in every}
    by_source = {name: quality(rows) for name, rows in sources.items() if rows}
    decisive = _decisive(gate, by_source, config.min_per_class)
    reasons = gate_reasons(
        decisive,
        min_auc=config.min_auc,
        max_calibration_error=config.max_calibration_error,
        min_per_class=config.min_per_class,
        by_interval=config.gate == "interval",
    )
    known = [row for row in gate if row["correct"] is not None]
    return RewardResult(
        gate_passed=not reasons,
        gate_reasons=reasons,
        auc=decisive.auc,
        accuracy=decisive.accuracy,
        brier=decisive.brier,
        calibration_error=decisive.calibration_error,
        n=decisive.n,
        intervals=decisive.intervals,
        by_source=by_source,
        by_length=_by_length(gate, held.response_lengths[places].tolist()),
        truth=quality(known, "correct") if known else None,
        step=step,
        temperature=float(model.temperature),
        bias=float(model.bias),
        train_examples=len(train),
        flops=_flops(model, config.steps * config.batch_size, train, held),
    )


def _flops(model: RewardModel, examples: int, train: Examples, held: Examples) -> float:
    """Compute of training the trunk on so many examples, and of the likelihood models' reading all once."""
    trained, measured = (int(some.prompt_lengths.sum() + some.response_lengths.sum()) for some in (train, held))
    likelihood_models = sum(model_size(one.model) for one in model.likelihood_models.values())
    return 6.0 * model_size(model.trunk) * examples * trained / len(train) + 2.0 * likelihood_models * (
        trained + measured
    )
