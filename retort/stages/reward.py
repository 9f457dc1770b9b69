"""Stage `reward`: train the reward model, measure it on held-out prompts, and decide whether PPO may use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retort.errors import InputError
from retort.files import atomic_path
from retort.models import model_size
from retort.stages.context import Context
from retort.tables import REWARD_EXAMPLES, REWARD_PREDICTIONS, Rows, read_table, write_table

if TYPE_CHECKING:
    from retort.reward.model import RewardModel
    from retort.reward.quality import Quality
    from retort.reward.train import Examples


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
    by_source: dict[str, Quality]
    """The same figures for teacher and student responses apart."""
    truth: Quality | None
    """The scores against gold answers instead of pseudo-labels, where they are known."""
    step: int
    """Training step that was kept."""
    temperature: float
    bias: float
    train_examples: int
    flops: float
    """Training compute of the trunk, 6 x parameters x tokens, and the judges' 2 x parameters x tokens."""


def run(context: Context) -> RewardResult:
    """Train and gate the reward model.

    Raises:
        InputError: a table is empty or has one class only.
        ModelError: a model cannot be loaded.
    """
    import torch

    from retort.adapters import with_adapters
    from retort.reward.train import held_out_part, prepare, train_reward

    config, paths, state = context.config.reward, context.paths, context.state()
    train_rows = _read(paths.reward_data("train"))
    held_rows = _read(paths.reward_data("validation"))
    torch.manual_seed(context.config.seed)
    model = _build(context)
    train = prepare(model, train_rows, config.max_length)
    held = prepare(model, held_rows, config.max_length)
    parts = [held_out_part(row["prompt_id"]) for row in held.rows]
    _check(context, train, parts)
    select = held.only([i for i, part in enumerate(parts) if part == "select"])
    adapted = with_adapters(model.trunk, config.lora)  # puts them into the trunk's own layers
    step = train_reward(
        model,
        train,
        select,
        config,
        seed=context.config.seed,
        state=state,
        curves_folder=paths.curves("reward"),
    )
    if config.lora:
        adapted.merge_and_unload()
    scores = model.score_tokens(held.tokens, held.features, batch_size=256).tolist()
    predictions = [
        {**{key: row[key] for key in ("prompt_id", "source", "label", "correct")}, "score": score, "part": part}
        for row, score, part in zip(held.rows, scores, parts, strict=True)
    ]
    with atomic_path(paths.model("reward")) as folder:
        folder.mkdir()
        model.save(folder, init=config.init)
        write_table(folder / "validation.parquet", predictions, REWARD_PREDICTIONS)
    return _result(context, model, step, train, held, [row for row in predictions if row["part"] == "gate"])


def _read(path: Path) -> Rows:
    rows = read_table(path, REWARD_EXAMPLES)
    if len({row["label"] for row in rows}) < 2:
        raise InputError(
            f"holds {len(rows)} examples of {len({row['label'] for row in rows})} class(es); two are needed",
            file=path,
            field="label",
            remedy="Sample more responses or at a higher temperature, so that right and wrong ones both occur",
        )
    return rows


def _check(context: Context, train: Examples, parts: list[str]) -> None:
    """Refuse tables of which nothing is left to train on, to choose the step by, or to measure the gate on."""
    paths, longest = context.paths, context.config.reward.max_length
    if not train.rows:
        raise InputError(
            f"holds no example of at most {longest} tokens",
            file=paths.reward_data("train"),
            field="response",
            remedy="Raise reward.max_length",
        )
    for part, purpose in (("select", "choose the step by"), ("gate", "measure the gate on")):
        if part not in parts:
            raise InputError(
                f"leaves no prompt to {purpose}",
                file=paths.reward_data("validation"),
                field="prompt_id",
                remedy="Hold more prompts out (prompts.validation), or raise reward.max_length",
            )


def _build(context: Context) -> RewardModel:
    from retort.models import load_model, load_tokenizer
    from retort.reward.model import RewardModel, load_judges

    config, paths = context.config.reward, context.paths
    trunk = load_model(paths.model(config.init))
    return RewardModel(
        trunk,
        load_tokenizer(paths.model(config.init), training=False),
        load_judges({name: paths.model(name) for name in config.likelihood}),
        head_size=config.head_size,
    ).to(trunk.device)


def _result(
    context: Context, model: RewardModel, step: int, train: Examples, held: Examples, gate: Rows
) -> RewardResult:
    from retort.reward.quality import gate_reasons, measure

    config = context.config.reward

    def quality(rows: Rows, field: str = "label") -> Quality:
        return measure([int(row[field]) for row in rows], [row["score"] for row in rows])

    sources = {name: [row for row in gate if row["source"] == name] for name in ("teacher", "student")}
    by_source = {name: quality(rows) for name, rows in sources.items() if rows}
    student = by_source.get("student")
    # PPO shows the reward model responses of the student: those decide. Where they have one label they can decide
    # nothing: the gate stays shut, or with min_per_class 0 the teacher's stand in.
    blind = student is not None and student.auc is None and config.min_per_class == 0
    decisive = by_source.get("teacher", student) if blind else student
    decisive = decisive if decisive is not None else quality(gate)
    reasons = gate_reasons(
        decisive,
        min_auc=config.min_auc,
        max_calibration_error=config.max_calibration_error,
        min_per_class=config.min_per_class,
    )
    known = [row for row in gate if row["correct"] is not None]
    lengths = [len(prompt) + len(response) for prompt, response in train.tokens]
    seen = sum(lengths) + sum(len(prompt) + len(response) for prompt, response in held.tokens)
    size = {
        name: model_size(part)
        for name, part in [("trunk", model.trunk), *((n, j.model) for n, j in model.judges.items())]
    }
    return RewardResult(
        gate_passed=not reasons,
        gate_reasons=reasons,
        auc=decisive.auc,
        accuracy=decisive.accuracy,
        brier=decisive.brier,
        calibration_error=decisive.calibration_error,
        n=decisive.n,
        by_source=by_source,
        truth=quality(known, "correct") if known else None,
        step=step,
        temperature=float(model.temperature),
        bias=float(model.bias),
        train_examples=len(train.rows),
        flops=6.0 * size.pop("trunk") * config.steps * config.batch_size * sum(lengths) / len(lengths)
        + 2.0 * sum(size.values()) * seen,
    )
