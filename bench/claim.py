"""The paper's claim on the embedded task: `python -m bench.claim [--seeds 0 1 2] [--json] [--write]`.

Runs the whole pipeline of params.yaml once a seed, each in a workspace of its own under runs/, with one student more:
SFT that is given PPO's compute as well (`--no-equal-compute` leaves it out). Prints accuracy on
the held-out test prompts with paired 95 % intervals. A seed's run is skipped where nothing has changed. The teacher
and the base student are the same in every run; sampling, training and evaluation of each seed are its own. `--write`
puts every seed's table into docs/claim.md and the means over seeds into README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from retort.config import RetortConfig, load_config
from retort.config.run import TEACHER
from retort.config.students import DEFAULT_STUDENTS

CONFIG = Path("params.yaml")
BASELINE = {"method": "sft", "from": "base", "compute_of": "ppo", "label": "SFT, equal compute"}
"""The student that the demonstration has no time for."""
MARKS = ("<!-- claim:begin (`python -m bench.claim --write` puts its table here) -->", "<!-- claim:end -->")


def main() -> None:
    """Run the seeds and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md and docs/claim.md")
    parser.add_argument("--no-equal-compute", action="store_true", help="leave out SFT that is given PPO's compute")
    arguments = parser.parse_args()
    equal = not arguments.no_equal_compute
    runs = {seed: run(seed, equal_compute=equal) for seed in arguments.seeds}
    config = load_config(CONFIG, changes=changes(arguments.seeds[0], equal_compute=equal))
    table = markdown(runs, config)
    if arguments.write:
        write_between_marks(Path("README.md"), summary(runs, config))
        write_between_marks(Path("docs/claim.md"), table)
    print(json.dumps({"commit": commit(), "seeds": runs}, sort_keys=True) if arguments.json else table)


def changes(seed: int, *, equal_compute: bool = True) -> list[str]:
    """What the run of one seed changes in the configuration."""
    if not equal_compute:
        return [f"seed={seed}"]
    students = DEFAULT_STUDENTS | {"sft_equal_compute": BASELINE}
    return [f"seed={seed}", f"students={json.dumps(students)}", "evaluate.models=all"]


def run(seed: int, *, equal_compute: bool = True) -> dict[str, Any]:
    """The metrics of the run of one seed."""
    command = [sys.executable, "-m", "retort", "run", "--config", str(CONFIG), "--name", f"claim-seed-{seed}", "--json"]
    flags = [part for change in changes(seed, equal_compute=equal_compute) for part in ("--set", change)]
    done = subprocess.run([*command, *flags], stdout=subprocess.PIPE, text=True, check=True)
    metrics: dict[str, Any] = json.loads(done.stdout)
    return metrics


def markdown(runs: dict[int, dict[str, Any]], config: RetortConfig) -> str:
    """The runs as one Markdown table a benchmark, under a sentence that says what they are."""
    models, result = config.evaluated(), config.final_student()
    pairs = [pair for pair in config.comparisons() if pair[0] == result]
    n = next(iter(next(iter(runs.values()))["models"].values()))["n"]
    baselines = [
        f"'{short(config, name)}' is given {short(config, entry.compute_of)}'s compute as well. "
        for name, entry in config.students.items()
        if entry.compute_of is not None
    ]
    lines = [
        f"Accuracy on {n:,} held-out problems of the embedded task, {len(runs)} seeds "
        f"of the pipeline on two CPU cores, paired 95 % intervals in points. {''.join(baselines)}"
        f"`python -m bench.claim{'' if baselines else ' --no-equal-compute'}`, commit {commit()}.",
    ]
    heads = ["seed", *(bold(short(config, name), name == result) for name in models)]
    heads += [f"{short(config, one)} − {short(config, other)}" for one, other in pairs]
    for benchmark in config.evaluate.benchmarks:
        how = f"Sampled at temperature {benchmark.temperature:g}" if benchmark.temperature else "Greedy"
        lines += ["", f"{how}:", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for seed, metrics in runs.items():
            found = metrics["benchmarks"][benchmark.name]
            cells = [bold(share(found["models"].get(name)), name == result) for name in models]
            cells += [interval(found["paired"].get(f"{one}_minus_{other}")) for one, other in pairs]
            lines.append(f"| {seed} | {' | '.join(cells)} |")
    notices = [f"- Seed {seed}: {notice}" for seed, metrics in runs.items() for notice in metrics["notices"]]
    return "\n".join([*lines, *([""] if notices else []), *notices])


def summary(runs: dict[int, dict[str, Any]], config: RetortConfig) -> str:
    """The result's accuracy and its differences, a line a benchmark, each the mean over the seeds that have it."""
    result = config.final_student()
    pairs = [pair for pair in config.comparisons() if pair[0] == result and pair[1] not in config.models]
    pairs += [pair for pair in config.comparisons() if pair == (result, TEACHER)]
    n = next(iter(next(iter(runs.values()))["models"].values()))["n"]
    heads = ["", short(config, result), *(f"{short(config, one)} − {short(config, other)}" for one, other in pairs)]
    lines = [
        f"Mean of {len(runs)} seeds on {n:,} held-out problems of the embedded task [outermost ends of the seeds' 95 % "
        f"intervals], commit {commit()}; [every seed, and what it does not show](docs/claim.md):",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for benchmark in config.evaluate.benchmarks:
        found = [metrics["benchmarks"][benchmark.name] for metrics in runs.values()]
        scores = [one["models"][result]["accuracy"] for one in found if result in one["models"]]
        cells = [_mean(scores) + (f" ({len(scores)} of {len(runs)} seeds)" if len(scores) < len(runs) else "")]
        for one, other in pairs:
            cells.append(_mean_interval([each["paired"].get(f"{one}_minus_{other}") for each in found]))
        how = f"sampled at temperature {benchmark.temperature:g}" if benchmark.temperature else "greedy"
        lines.append(f"| {how} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(scores: list[float]) -> str:
    return share({"accuracy": fmean(scores)} if scores else None)


def _mean_interval(pairs: list[dict[str, float] | None]) -> str:
    """The mean difference, and the ends that no seed's interval goes beyond."""
    given = [pair for pair in pairs if pair is not None]
    if not given:
        return "–"
    low, high = min(pair["low"] for pair in given), max(pair["high"] for pair in given)
    return interval({"difference": fmean(pair["difference"] for pair in given), "low": low, "high": high})


def short(config: RetortConfig, name: str) -> str:
    """A model in a column's head: `PPO`, `teacher`."""
    label = config.label(name).removesuffix(" student")
    return label if name in config.students else label.lower()


def bold(cell: str, wanted: bool) -> str:
    """A cell that is to be seen first."""
    return f"**{cell}**" if wanted else cell


def share(score: dict[str, float] | None) -> str:
    """An accuracy in percent; a dash for a model that was not evaluated."""
    return "–" if score is None else f"{100 * score['accuracy']:.1f} %"


def interval(paired: dict[str, float] | None) -> str:
    """A paired difference in points with its interval; a dash where one of the two was not evaluated."""
    if paired is None:
        return "–"
    points = [100 * paired[key] for key in ("difference", "low", "high")]
    if paired["low"] == paired["high"]:
        return f"{points[0]:+.1f} [no interval: every item came out alike]"
    return f"{points[0]:+.1f} [{points[1]:+.1f}, {points[2]:+.1f}]"


def write_between_marks(page: Path, table: str) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{MARKS[0]}\n{table}\n{MARKS[1]}", text), encoding="utf-8")


def commit() -> str:
    """Short name of the commit that runs."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
