"""Training methods at equal compute: `python -m bench.methods [--seeds 0] [--json] [--write]`.

Runs bench/methods.yaml once a seed, in one process: every method from the same student, each given the FLOPs of PPO
beside a first step of its own, on few prompts with teacher answers. Prints one table: accuracy on held-out problems,
greedily and at temperature 1, the paired difference to the start, what training cost, and what an answer costs.
What has not changed since the last call is not run again. `--write` puts the table into docs/guides/methods.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from bench.claim import commit, interval, share
from retort.config import RetortConfig, load_config
from retort.config.load import pick, read_yaml
from retort.io.files import write_json
from retort.run.graph import Graph
from retort.run.stage import run_stage
from retort.run.tasks import graph
from retort.run.workspace import create

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
    root = Path("runs") / f"methods-seed-{seed}"
    config = load_config(CONFIG, changes=[f"seed={seed}", f"compare={json.dumps(pairs())}"])
    create(root, config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    _run_here(root, graph(config))
    metrics = root / "metrics"
    return {
        "report": _read(root / "outputs/report/metrics.json"),
        "training": {name: _read(metrics / f"{config.method(name).name}-{name}.json") for name in config.students},
        "answering": {
            name: _read(metrics / f"evaluate-{name}-{config.evaluate.benchmarks[0].name}.json")
            for name in config.evaluated()
        },
    }


def _run_here(root: Path, tasks: Graph) -> None:
    """Run the tasks in this process: a command for each would load its libraries sixty times.

    What ran already with the same code and parameters is not run again, unless what it reads was.
    """
    file = root / "ran.json"
    marks: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    params, ran = read_yaml(root / "params.yaml"), set()
    for task in tasks:
        made_by = [task.code(), pick(params, task.params)]
        mark = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
        known = marks.get(task.address) == mark and not any(one.address in ran for one in tasks.producers(task))
        if known:
            continue
        started = time.monotonic()
        run_stage(task.stage.name, task.values, root)
        print(f"{task.address}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        ran.add(task.address)
        marks[task.address] = mark
        write_json(file, marks)


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
