"""The champion: the student in production, which a retrained one replaces only if it earns it.

It is a folder `champion/` (model, per-item results, decision) that DVC versions: `champion.dvc` names its content,
beside the decisions that led there, and belongs into git. Who has that file gets the model by `dvc pull champion.dvc`.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from retort.errors import ConfigError, InputError
from retort.evaluation.statistics import Difference, mcnemar_exact, paired_difference
from retort.io.files import atomic_path, write_json, write_text
from retort.io.tables import RESULTS, Rows, read_table
from retort.run import dvc_adapter
from retort.run.dvc_adapter import Entry
from retort.run.find import report_of
from retort.run.paths import Paths

FILE = "champion.dvc"
FOLDER = "champion"

LEAST_ITEMS = 100
"""Held-out items that two models must share for a comparison to mean anything."""


@dataclass(frozen=True)
class Decision:
    """Whether a challenger became champion, and why."""

    run: str
    model: str
    """Name of the student: the `final_model` of the run's report."""
    promoted: bool
    reason: str
    accuracy: float
    """On all held-out items of its run."""
    cost: float
    """Bytes of weights x mean tokens of prompt and response: what an answer costs to serve, in no particular unit."""
    against: str | None = None
    """Run of the champion that it was compared with."""
    difference: Difference | None = None
    """Challenger minus champion, on the items that both answered."""
    p_value: float | None = None
    """Exact McNemar test on those items."""


def judge(
    root: Path, run: str, workspace: Path, *, benchmark: str | None = None, margin: float = 0.01, level: float = 0.05
) -> Decision:
    """Compare the student of a run with its base, then with the champion; nothing is changed.

    One that its run's report does not show to be better than the base it was made from loses. Else the challenger wins
    if it is better than the champion by the paired test, or if the interval of the difference stays above `-margin` and
    it is cheaper. Without a champion it wins.

    Args:
        root: Folder with `champion.dvc`.
        run: Name of the run, for the record.
        workspace: The run's workspace, with everything that it made.
        benchmark: Held-out benchmark that decides; the report's own when left out.
        margin: Accuracy that being cheaper may cost, as a fraction.
        level: Of the paired test, two-sided.

    Raises:
        InputError: the run has no report or made no model, or shares too few held-out items with the champion.
    """
    alone, rows = _alone(run, workspace, benchmark)
    if reason := _worthless(workspace, alone.model):
        return replace(alone, promoted=False, reason=reason)
    champion = current(root)
    if champion is None:
        return alone
    if not (root / FOLDER / "results.parquet").exists():
        dvc_adapter.fetch(root, [FILE])
    ours, theirs, groups = _paired(rows, read_table(root / FOLDER / "results.parquet", RESULTS), root)
    difference = paired_difference(ours, theirs, groups)
    p_value = mcnemar_exact([score == 1 for score in ours], [score == 1 for score in theirs])
    won, reason = _verdict(difference, p_value, alone.cost, champion.cost, margin=margin, level=level)
    return replace(alone, promoted=won, reason=reason, against=champion.run, difference=difference, p_value=p_value)


def unopposed(run: str, workspace: Path, *, benchmark: str | None = None) -> Decision:
    """The decision for a student that is crowned without a comparison.

    Raises:
        InputError: the run has no report, or made no model.
    """
    return _alone(run, workspace, benchmark)[0]


def _alone(run: str, workspace: Path, benchmark: str | None) -> tuple[Decision, Rows]:
    paths = Paths(workspace)
    metrics = report_of(workspace)
    model, benchmark = metrics["final_model"], benchmark or metrics["benchmark"]
    rows = read_table(paths.results(model, benchmark), RESULTS)
    cost = _cost(paths.model(model), rows)
    return Decision(
        run, model, promoted=True, reason="there was no champion", accuracy=_accuracy(rows), cost=cost
    ), rows


def _verdict(
    difference: Difference, p_value: float, cost: float, champion_cost: float, *, margin: float, level: float
) -> tuple[bool, str]:
    if difference.difference > 0 and p_value < level and difference.low > 0:
        return True, f"better by {difference.difference:.1%} (p = {p_value:.2g})"
    if difference.low > -margin and cost < champion_cost:
        cheaper = 1 - cost / champion_cost
        return True, f"not worse by more than {margin:.1%} and {cheaper:.0%} cheaper"
    if difference.difference > 0:
        return False, f"{difference.difference:.1%} better may be chance (p = {p_value:.2g}), and it is not cheaper"
    return False, f"not better: {difference.difference:+.1%} [{difference.low:+.1%}, {difference.high:+.1%}]"


def crown(root: Path, decision: Decision, workspace: Path, *, benchmark: str | None = None) -> None:
    """Make the student of a run the champion, and keep the decision.

    One that lost is a line in the record of the champion that it lost to; without a champion it leaves nothing behind.

    Raises:
        ConfigError: the folder is no DVC project, so nothing could be kept.
        StorageError: the object store is away; the champion is the one before, and nothing is left behind.
    """
    history = decisions(root)
    if not decision.promoted:
        if (root / FILE).exists():
            _write(root, _record(root), [*history, asdict(decision) | {"entry": None}])
        return
    if not (root / ".dvc").is_dir():
        raise ConfigError(
            f"{root.resolve()}: is no DVC project, in which a champion is versioned. Run `git init` and `dvc init` "
            "here first, or `dvc init --no-scm`."
        )
    paths = Paths(workspace)
    benchmark = benchmark or report_of(workspace)["benchmark"]
    with atomic_path(root / FOLDER) as folder:
        folder.mkdir()
        shutil.copytree(paths.model(decision.model), folder / "model")
        shutil.copyfile(paths.results(decision.model, benchmark), folder / "results.parquet")
        write_json(folder / "decision.json", asdict(decision))
        # Before the folder takes its place: where the store is away, there is no half of a champion.
        entry = dvc_adapter.store(root, [folder.name])[folder.name] | {"path": FOLDER}
    _write(root, entry, [*history, asdict(decision) | {"entry": entry}])


def roll_back(root: Path) -> Decision:
    """Make the champion before this one the champion again.

    Raises:
        InputError: there was none before.
    """
    history, record = decisions(root), _record(root)
    crowned = [one for one in history if one["entry"]]
    place = next((i for i, one in enumerate(crowned) if record and one["entry"]["md5"] == record["md5"]), 0)
    if place == 0:
        raise InputError("there is no champion before this one", file=root / FILE, remedy="See `retort champion`")
    before = crowned[place - 1]
    note = {**before, "reason": f"rolled back from {crowned[place]['run']}"}
    # The one that is left stays in the record, but no longer counts as one to come back to.
    kept = [one | {"entry": None} if one is crowned[place] else one for one in history]
    _write(root, before["entry"], [*kept, note | {"entry": None}])
    dvc_adapter.fetch(root, [FILE])
    return _decision(note)


def current(root: Path) -> Decision | None:
    """The decision that made the present champion; None where there is none."""
    record = _record(root)
    made = [one for one in decisions(root) if record and one["entry"] and one["entry"]["md5"] == record["md5"]]
    return _decision(made[-1]) if made else None


def decisions(root: Path) -> list[dict[str, Any]]:
    """All decisions, oldest first; `entry` is DVC's of what was crowned, null for what was not."""
    found: list[dict[str, Any]] = _read(root).get("meta", {}).get("decisions", [])
    return found


def _record(root: Path) -> Entry | None:
    outs = _read(root).get("outs")
    return dict(outs[0]) if outs else None


def _read(root: Path) -> dict[str, Any]:
    file = root / FILE
    return dict(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _write(root: Path, entry: Entry | None, history: list[dict[str, Any]]) -> None:
    value = {"outs": [entry] if entry else [], "meta": {"decisions": history}}
    write_text(root / FILE, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _decision(one: dict[str, Any]) -> Decision:
    values = {key: value for key, value in one.items() if key != "entry"}
    if values.get("difference"):
        values["difference"] = Difference(**values["difference"])
    return Decision(**values)


def _worthless(workspace: Path, model: str) -> str:
    """Why a student is not worth having at all: its run does not show it to be better than its base; else empty."""
    report = report_of(workspace)
    base = report.get("base")
    pair = report["paired"].get(f"{model}_minus_{base}")
    if pair is None:
        return (
            f"whether it is better than what it was made from was not measured: evaluate {base or 'the base'} as well"
        )
    if pair["low"] > 0:
        return ""
    interval = f"{pair['difference']:+.1%} [{pair['low']:+.1%}, {pair['high']:+.1%}]"
    return f"not shown to be better than {base}, which it was made from: {interval}"


def _accuracy(rows: Rows) -> float:
    return float(sum(row["score"] for row in rows) / len(rows))


def _cost(model: Path, rows: Rows) -> float:
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    if not weights:  # it would win by costing nothing
        raise InputError(
            "holds no weights",
            file=model,
            remedy="A gate stopped every student of this run, so it made no model: see its report.html",
        )
    tokens = sum(row["prompt_tokens"] + row["response_tokens"] for row in rows) / len(rows)
    return float(weights * tokens)


def _paired(ours: Rows, theirs: Rows, root: Path) -> tuple[list[float], list[float], list[str]]:
    """Scores on the items that both answered, and the items' groups."""
    other = {row["item_id"]: row["score"] for row in theirs}
    shared = [row for row in ours if row["item_id"] in other]
    if len(shared) < LEAST_ITEMS:
        raise InputError(
            f"the champion answered {len(shared)} of this run's {len(ours)} held-out items, fewer than {LEAST_ITEMS}",
            file=root / FOLDER / "results.parquet",
            remedy="Compare on a benchmark that stays the same (--benchmark), or crown it by --force",
        )
    return [row["score"] for row in shared], [other[row["item_id"]] for row in shared], [r["group_id"] for r in shared]
