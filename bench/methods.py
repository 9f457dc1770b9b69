"""Training methods at equal compute: `python -m bench.methods [--seeds 0] [--json] [--write]`.

Runs bench/methods.yaml once a seed: every method from the same student, each given the FLOPs of PPO beside a first step
of its own, on few prompts with teacher answers. Prints one table: accuracy on held-out problems, greedily and at
temperature 1, the paired difference to the student that it started from, what training cost, and what an answer costs.
A seed's run is skipped where nothing has changed. `--write` puts the table into docs/guides/methods.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.claim import commit, interval, share
from retort.config import RetortConfig, load_config

CONFIG = Path("bench/methods.yaml")
PAGE = Path("docs/guides/methods.md")
MARKS = ("<!-- methods:begin (written by `python -m bench.methods`) -->", "<!-- methods:end -->")
START = "sft"
"""Student that the others are compared with."""


def main() -> None:
    """Run the seeds and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    arguments = parser.parse_args()
    runs = {seed: run(seed) for seed in arguments.seeds}
    table = markdown(runs, load_config(CONFIG, changes=[f"compare={json.dumps(pairs())}"]))
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        pattern = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
        PAGE.write_text(pattern.sub(lambda _: f"{MARKS[0]}\n{table}\n{MARKS[1]}", text), encoding="utf-8")
    print(json.dumps({"commit": commit(), "seeds": runs}, sort_keys=True) if arguments.json else table)


def pairs() -> list[tuple[str, str]]:
    """Every model and student with the student that the methods start from."""
    config = load_config(CONFIG)
    return [(name, START) for name in config.evaluated() if name != START]


def run(seed: int) -> dict[str, Any]:
    """The report's metrics of the run of one seed, with those of each student's training and benchmarks."""
    name = f"methods-seed-{seed}"
    command = [sys.executable, "-m", "retort", "run", "--config", str(CONFIG), "--name", name, "--json"]
    changes = [f"seed={seed}", f"compare={json.dumps(pairs())}"]
    flags = [part for change in changes for part in ("--set", change)]
    done = subprocess.run([*command, *flags], stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    config = load_config(CONFIG)
    folder = Path("runs") / name / "metrics"
    training = {one: _read(folder / f"{config.method(one).name}-{one}.json") for one in config.students}
    answering = {
        one: _read(folder / f"evaluate-{one}-{config.evaluate.benchmarks[0].name}.json") for one in config.evaluated()
    }
    return {"report": report, "training": training, "answering": answering}


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def markdown(runs: dict[int, dict[str, Any]], config: RetortConfig) -> str:
    """One table a seed: a line a model or student."""
    first = next(iter(runs.values()))
    n = next(iter(first["report"]["models"].values()))["n"]
    lines = [
        f"{config.prompts.limit:,} prompts with {len(config.teacher_responses.temperatures)} x "
        f"{config.teacher_responses.samples} teacher answers each, {n:,} held-out problems of the embedded task, "
        f"paired 95 % intervals in points. Training is what the method itself cost, of a start that cost "
        f"{first['training'][START]['flops'] / 1e12:.2f} TFLOP. `python -m bench.methods`, commit {commit()}.",
    ]
    benchmarks = config.evaluate.benchmarks
    heads = ["", *(f"{_how(one.temperature)} | − {START}" for one in benchmarks), "training, TFLOP", "an answer, MFLOP"]
    for seed, found in runs.items():
        head = " | ".join(heads)
        lines += ["", f"Seed {seed}:", "", f"| {head} |", "|---" * (head.count(" | ") + 1) + "|"]
        lines += [_line(config, name, found) for name in config.evaluated()]
        lines += ["", *(f"- {notice}" for notice in found["report"]["notices"])]
    return "\n".join(lines).rstrip()


def _line(config: RetortConfig, name: str, found: dict[str, Any]) -> str:
    cells = [config.label(name)]
    for benchmark in config.evaluate.benchmarks:
        scores = found["report"]["benchmarks"][benchmark.name]
        cells += [share(scores["models"].get(name)), interval(scores["paired"].get(f"{name}_minus_{START}"))]
    training, answering = found["training"].get(name), found["answering"][name]
    cells.append(
        "–" if training is None else "skipped" if training.get("skipped") else f"{training['flops'] / 1e12:.2f}"
    )
    cells.append(f"{answering['flops'] / answering['items'] / 1e6:.0f}")
    return f"| {' | '.join(cells)} |"


def _how(temperature: float) -> str:
    return f"at temperature {temperature:g}" if temperature else "greedily"


if __name__ == "__main__":
    main()
