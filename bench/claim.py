"""The paper's claim on the embedded task: `python -m bench.claim [--seeds 0 1 2] [--json] [--write]`.

Runs the whole pipeline of params.yaml once a seed, each in a workspace of its own under runs/, and prints accuracy on
the held-out test prompts with paired 95 % intervals. A seed's run is skipped where nothing has changed. The teacher and
the base student are the same in every run; sampling, training and evaluation of each seed are its own. `--write`
puts the table into README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

MODELS = ("base", "teacher", "sft", "sft_equal_compute", "ppo")
EVALUATED = ("teacher", "base", "sft", "ppo", "sft_equal_compute")
PAIRS = ("ppo_minus_sft", "ppo_minus_teacher", "ppo_minus_sft_equal_compute")
MARKS = ("<!-- claim:begin (written by `python -m bench.claim`) -->", "<!-- claim:end -->")


def main() -> None:
    """Run the seeds and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments = parser.parse_args()
    runs = {seed: run(seed) for seed in arguments.seeds}
    table = markdown(runs)
    if arguments.write:
        write_readme(Path("README.md"), table)
    print(json.dumps({"commit": commit(), "seeds": runs}, sort_keys=True) if arguments.json else table)


def run(seed: int) -> dict[str, Any]:
    """The metrics of the run of one seed, with the baseline that the demonstration has no time for."""
    changes = [f"seed={seed}", "sft_equal_compute.enabled=true", f"evaluate.models=[{','.join(EVALUATED)}]"]
    command = [
        sys.executable,
        "-m",
        "retort",
        "run",
        "--config",
        "params.yaml",
        "--name",
        f"claim-seed-{seed}",
        "--json",
    ]
    flags = [part for change in changes for part in ("--set", change)]
    done = subprocess.run([*command, *flags], stdout=subprocess.PIPE, text=True, check=True)
    metrics: dict[str, Any] = json.loads(done.stdout)
    return metrics


def markdown(runs: dict[int, dict[str, Any]]) -> str:
    """The runs as one Markdown table a benchmark, under a sentence that says what they are."""
    first = next(iter(runs.values()))
    lines = [
        f"Accuracy on {first['models']['ppo']['n']:,} held-out problems of the embedded task, {len(runs)} seeds of the "
        "pipeline on two CPU cores, paired 95 % intervals in points. 'SFT =' is SFT given PPO's compute as well. "
        f"`python -m bench.claim`, commit {commit()}.",
    ]
    for name, words in (("heldout", "sampled at temperature 1"), ("heldout_greedy", "greedy")):
        heads = ["seed", "base", "teacher", "SFT", "SFT =", "**PPO**", "PPO − SFT", "PPO − teacher", "PPO − SFT ="]
        lines += ["", f"{words[0].upper()}{words[1:]}:", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for seed, metrics in runs.items():
            found = metrics["benchmarks"][name]
            shares = [share(found["models"].get(model)) for model in MODELS]
            pairs = [interval(found["paired"].get(pair)) for pair in PAIRS]
            lines.append(f"| {seed} | {' | '.join([*shares[:-1], f'**{shares[-1]}**', *pairs])} |")
    return "\n".join(lines)


def share(score: dict[str, float] | None) -> str:
    """An accuracy in percent; a dash for a model that was not evaluated."""
    return "–" if score is None else f"{100 * score['accuracy']:.1f} %"


def interval(paired: dict[str, float] | None) -> str:
    """A paired difference in points with its interval; a dash where one of the two was not evaluated."""
    if paired is None:
        return "–"
    points = [100 * paired[key] for key in ("difference", "low", "high")]
    return f"{points[0]:+.1f} [{points[1]:+.1f}, {points[2]:+.1f}]"


def write_readme(readme: Path, table: str) -> None:
    """Replace what stands between the marks."""
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
    readme.write_text(pattern.sub(lambda _: f"{MARKS[0]}\n{table}\n{MARKS[1]}", text), encoding="utf-8")


def commit() -> str:
    """Short name of the commit that runs."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
