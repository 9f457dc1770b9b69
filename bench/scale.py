"""Time and memory of the data stages as rows grow: `python -m bench.scale [--json] [--prompts 100000 1000000]`.

Made-up prompts, and ten responses to each by a teacher and two by a student, lie in shards as the stages before would
have written them. Measured are wall time, processor time and peak memory (of the largest process) of the stages
`prompts`, `ballots`, `votes`, `reward_examples` and `reward_data`, each task a command of its own, start included. Of a
stage with a task a shard the times are summed, as one machine would take, and the peak is that of the largest. The
last column is the processor time of a size over that of the size before it, beside how many times the rows grew: linear
time keeps it at or below that, on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from bench.surroundings import show, surroundings
from bench.vote import timed, write_response
from retort.config import load_config
from retort.config.load import resolved
from retort.io.tables import RESPONSES
from retort.run.paths import Paths

_CONFIG = """\
answer: number
models:
  teacher: {engine: {type: recorded, path: responses.jsonl}}
  base: {source: base}
prompts: {sources: [{path: prompts.jsonl, answer_field: answer}], validation: VALIDATION}
teacher_responses: {shards: SHARDS}
student_responses: {shards: SHARDS}
"""
_REWARD = ("--reward", "learned")
_STAGES: dict[str, tuple[str, ...]] = {
    "prompts": (),
    "ballots": (),
    "votes": (),
    "reward_examples": _REWARD,
    "reward_data": _REWARD,
}
_BY_SHARD = ("ballots", "reward_examples")
"""Stages with a task for each of several shards."""
_WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("aro", "eni", "ilu", "ota", "uma", "esk")]


def main() -> None:
    """Write the data of each size, run the stages and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--responses", type=int, default=10, help="of the teacher to each prompt")
    parser.add_argument("--student-responses", type=int, default=2, help="of the student to each prompt")
    parser.add_argument("--shards", type=int, default=8, help="tables that responses lie in")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    sizes = [measured(prompts, arguments) for prompts in arguments.prompts]
    found = {
        "benchmark": "scale",
        "surroundings": surroundings("pyarrow"),
        "responses": arguments.responses,
        "student_responses": arguments.student_responses,
        "shards": arguments.shards,
        "sizes": sizes,
    }
    rows = []
    for stage in sizes[0]["stages"]:
        for place, size in enumerate(sizes):
            one, before = size["stages"][stage], sizes[place - 1] if place else None
            growth = "–"
            if before is not None:
                times = one["cpu_seconds"] / before["stages"][stage]["cpu_seconds"]
                growth = f"{times:.1f} for {size['prompts'] / before['prompts']:.1f} times the rows"
            count = size["prompts"] * (1 if stage == "prompts" else arguments.responses)
            shown = [f"{one['seconds']:.1f}", f"{one['cpu_seconds']:.1f}", f"{one['peak_mb']:,.0f}"]
            rows.append([stage, f"{count:,}", *shown, growth])
    head = ["stage", "rows", "seconds", "CPU seconds", "peak, MB", "CPU time"]
    show(found, head, rows, as_json=arguments.json)


def measured(prompts: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What each stage takes for so many prompts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = str(list(range(arguments.shards)))
        config = _CONFIG.replace("SHARDS", shards).replace("VALIDATION", str(max(20, prompts // 100)))
        file = folder / "params.yaml"
        file.write_text(config, encoding="utf-8")
        # Written out in full, as a run's own is: a stage sees what its workspace says, and no defaults beside it.
        file.write_text(yaml.safe_dump(resolved(load_config(file))), encoding="utf-8")
        write_prompts(folder / "prompts.jsonl", prompts)
        stages = {}
        for stage, flags in _STAGES.items():
            if stage in _BY_SHARD and arguments.shards == 1:
                continue  # a single shard is read by the stage after
            tasks = [("--shard", str(shard)) for shard in range(arguments.shards)] if stage in _BY_SHARD else [()]
            parts = [timed([sys.executable, "-m", "retort", "stage", stage, *flags, *task], folder) for task in tasks]
            stages[stage] = {
                "seconds": sum(part["seconds"] for part in parts),
                "cpu_seconds": sum(part["cpu_seconds"] for part in parts),
                "peak_mb": max(part["peak_mb"] for part in parts),
            }
            seen = " ".join(f"{key}={value:.1f}" for key, value in stages[stage].items())
            print(f"{prompts} prompts, {stage}: {seen}", file=sys.stderr, flush=True)
            if stage == "prompts":
                for model, count in (("teacher", arguments.responses), ("sft", arguments.student_responses)):
                    write_shards(folder, model, count, arguments.shards)
        return {"prompts": prompts, "stages": stages}


def write_prompts(path: Path, count: int) -> None:
    """Prompts of a dozen words, no two alike, with their answers."""
    rng = random.Random(0)  # noqa: S311 - data of a benchmark
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            words = " ".join(rng.choice(_WORDS) for _ in range(12))
            row = {"prompt": f"Item {number}: {words}, {rng.randrange(1000)}?", "answer": str(rng.randrange(10_000))}
            stream.write(json.dumps(row) + "\n")


def write_shards(folder: Path, model: str, responses: int, shards: int) -> None:
    """Responses of a model to the prompts of training and validation, written a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths, rng = Paths(folder), random.Random(model)  # noqa: S311 - data of a benchmark
    rows = [
        pair
        for split in ("train", "validation")
        for pair in zip(
            *(
                pq.read_table(paths.prompts(split), columns=[name])[name].to_pylist()
                for name in ("prompt_id", "answer")
            ),
            strict=True,
        )
    ]
    for shard in range(shards):
        path = paths.responses(model, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = rows[shard::shards]
        with pq.ParquetWriter(path, RESPONSES, compression="zstd") as writer:
            for start in range(0, len(mine), 10_000):
                part = [(name, int(gold)) for name, gold in mine[start : start + 10_000] for _ in range(responses)]
                writer.write_table(pa.table(_columns(part, model, responses, rng), schema=RESPONSES))


def _columns(part: list[tuple[str, int]], model: str, responses: int, rng: random.Random) -> dict[str, list[Any]]:
    count = len(part)
    return {
        "prompt_id": [name for name, _ in part],
        "sample": [place % responses for place in range(count)],
        "source": [model] * count,
        "model": ["made up"] * count,
        "temperature": [0.7] * count,
        "seed": [0] * count,
        "response": [write_response(gold, rng) for _, gold in part],
        "finish_reason": ["stop"] * count,
        "prompt_tokens": [0] * count,
        "response_tokens": [0] * count,
        "mean_logprob": [None] * count,
        "reasoning": [None] * count,
    }


if __name__ == "__main__":
    main()
