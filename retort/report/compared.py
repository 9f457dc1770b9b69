"""What `retort compare RUN ...` shows: tables for a terminal, JSON, and a plot of accuracy against compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from retort.errors import ConfigError
from retort.io.files import write_text
from retort.report.across import Pair, Side, Standing, compare_arms, pair_of
from retort.report.arms import Arm, arms, place_of
from retort.report.budgets import Place, advice, named
from retort.report.charts import cost_chart
from retort.report.formats import bracketed, count, duration, flops, interval_words, percent, points
from retort.report.terminal import columns

_SEEDS_OF_AN_ARM = "runs of %d seeds (%s); intervals are over items, and the columns by seed show how seeds differ"


@dataclass(frozen=True)
class Compared:
    """Runs side by side."""

    arms: list[Arm]
    sides: list[Side]
    """A benchmark each."""
    advice: dict[str, list[str]]
    """Sentences by benchmark."""
    takeable: set[Place]
    """What a run may hand over: students and what they start from."""
    notices: list[str]


def compare_runs(roots: Sequence[Path], pairs: Sequence[str] | None = None) -> Compared:
    """Compare the models of runs; runs that differ in nothing but their seed are one arm.

    Args:
        roots: Workspaces.
        pairs: `FIRST:SECOND`, what is taken from what; left out, what the configurations compare.

    Raises:
        InputError: a folder is no finished run, or runs were evaluated on different items.
        ConfigError: a pair is not known, or a configuration is wrong.
    """
    known = arms(roots)
    wanted = None if pairs is None else [_places(pair, known) for pair in pairs]
    names = list(dict.fromkeys(one.name for arm in known for one in arm.config.evaluate.benchmarks))
    sides = [compare_arms(known, name, wanted) for name in names]
    by_name = {arm.name: arm for arm in known}
    takeable = {
        (arm.name, model)
        for arm in known
        for student in arm.config.students
        for model in (student, arm.config.base_of(student))
    }
    said = {}
    for side in sides:

        def pair(first: Place, second: Place, benchmark: str = side.benchmark) -> Pair | None:
            return pair_of((by_name[first[0]], first[1]), (by_name[second[0]], second[1]), benchmark)

        said[side.benchmark] = advice(side, pair, takeable, several=len(known) > 1)
    return Compared(known, sides, said, takeable, [notice for arm in known for notice in _code_notices(arm)])


def _places(pair: str, known: Sequence[Arm]) -> tuple[tuple[Arm, str], tuple[Arm, str]]:
    first, colon, second = pair.partition(":")
    if not colon or not first or not second:
        raise ConfigError(f"--pair: {pair!r} is not FIRST:SECOND, such as ppo:sft.")
    return place_of(first, known), place_of(second, known)


def _code_notices(arm: Arm) -> list[str]:
    differing = arm.code_differs()
    if not differing:
        return []
    return [
        f"The runs of {arm.name} were made by different code ({', '.join(differing[:3])}"
        f"{' and more' if len(differing) > 3 else ''}), so their seeds are not all that differs."
    ]


def lines(found: Compared) -> list[str]:
    """The comparison as plain text for a terminal."""
    several = len(found.arms) > 1
    text: list[str] = []
    for arm in found.arms:
        seeds = [str(run.config.seed) for run in arm.runs]
        name = f"{arm.name}: " if several else ""
        text.append(
            name + (_SEEDS_OF_AN_ARM % (len(seeds), ", ".join(seeds)) if len(seeds) > 1 else f"seed {seeds[0]}")
        )
    for side in found.sides:
        text += ["", f"{side.benchmark}:", *_standings(side, several=several)]
        if side.pairs:
            text += ["", *_pairs(side, several=several)]
        text += ["", *found.advice[side.benchmark], *side.left_out]
    return [*text, *found.notices]


def _standings(side: Side, *, several: bool) -> list[str]:
    seeds = list(dict.fromkeys(seed for one in side.standings for seed in one.by_seed))
    many = len(seeds) > 1
    head = ["model", "accuracy", "95 % interval", *([f"seed {seed}" for seed in seeds] if many else [])]
    rows = [[*head, "n", "teacher tokens", "FLOPs", "wall time"]]
    for one in side.standings:
        rows.append(
            [
                named(one, several=several),
                percent(one.accuracy),
                f"{100 * one.low:.1f} – {100 * one.high:.1f}",
                *([percent(one.by_seed.get(seed)) for seed in seeds] if many else []),
                count(one.n),
                *_spent(one),
            ]
        )
    return columns(rows)


def _spent(one: Standing) -> list[str]:
    spent = one.spent
    if spent is None:  # the run did not make it
        return ["–"] * 3
    return [
        count(spent.teacher_tokens),
        flops(spent.flops) if spent.flops else "0",
        "–" if spent.seconds is None else duration(spent.seconds),
    ]


def _pairs(side: Side, *, several: bool) -> list[str]:
    seeds = list(dict.fromkeys(seed for pair in side.pairs for seed in pair.by_seed))
    many = len(seeds) > 1
    rows = [
        ["paired difference", "points", "95 % interval", *([f"seed {seed}" for seed in seeds] if many else []), "n"]
    ]
    for pair in side.pairs:
        alone = [pair.by_seed.get(seed) for seed in seeds] if many else []
        rows.append(
            [
                " − ".join("/".join(place) if several else place[1] for place in (pair.first, pair.second)),
                points(pair.difference),
                interval_words(pair.low, pair.high),
                *("–" if one is None else bracketed(*one) for one in alone),
                count(pair.n),
            ]
        )
    return columns(rows)


def as_plain(found: Compared) -> dict[str, Any]:
    """The comparison as plain values, for JSON."""
    return {
        "arms": {arm.name: {"runs": {str(run.config.seed): str(run.root) for run in arm.runs}} for arm in found.arms},
        "benchmarks": {
            side.benchmark: {
                "models": [asdict(one) for one in side.standings],
                "paired": [asdict(one) for one in side.pairs],
                "advice": found.advice[side.benchmark],
                "left_out": side.left_out,
            }
            for side in found.sides
        },
        "notices": found.notices,
    }


def plot(found: Compared) -> str:
    """Accuracy against compute on the first benchmark, with intervals, as an SVG; empty where nothing cost compute."""
    side, several = found.sides[0], len(found.arms) > 1
    drawn = [
        (named(one, several=several), one.spent.flops if one.spent else 0.0, one.accuracy, (one.low, one.high))
        for one in side.standings
        if (one.arm, one.model) in found.takeable  # nobody here made the teacher, so it has no cost to stand at
    ]
    return cost_chart(
        drawn,
        label=f"Accuracy on {side.benchmark} against the compute that made each model",
        x_label="FLOPs to make it, without the teacher's answers",
        x_format=flops,
    )


def write_plot(file: Path, found: Compared) -> None:
    """Write `plot` as a file that stands alone.

    Raises:
        ConfigError: no model cost any compute, so there is nothing to draw against.
        StorageError: the file cannot be written.
    """
    if not (chart := plot(found)):
        where = found.sides[0].benchmark
        raise ConfigError(f"--plot: no model on {where} cost any compute, so there is nothing to draw.")
    style = resources.files("retort.report").joinpath("page.css").read_text(encoding="utf-8")
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="800" height="460" style="background: var(--page)">'
    write_text(file, f"{head}<style>{style}svg {{ max-width: none; }}</style>{chart}</svg>\n")
