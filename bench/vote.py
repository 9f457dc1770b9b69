"""The votes stage on many responses: `python -m bench.vote [--json] [--prompts 100000] [--responses 32] [--shards 8]`.

Made-up responses to made-up prompts (three lines that end in `#### 1,234`, `The answer is 1234.` or `boxed{1234}`;
the right answer six times in ten, one in fifty without any) are written as the Parquet tables that the stage reads.
Measured are wall time, processor time and peak memory (of the largest process) of commands over the same files:

- `retort stage votes`: reads each answer by Retort's rules in a process a core, groups equal values however they are
  written, votes, writes labels, confidence and label-quality metrics; start of the processes included.
- `exact strings`: the plain way, as a lower bound: the last number by one regular expression, a counter of strings for
  each prompt, the most common one; nothing is measured or written.
- `math-verify`: the careful way of others, over the first prompts only (--peer-prompts): each response parsed by
  math-verify, and compared by `verify` with one member of each group until one is equal.

The table also says on how many prompts the labels differ from Retort's.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.surroundings import show, surroundings
from retort.run.paths import Paths

_CONFIG = """\
answer: number
models: {teacher: {engine: {type: recorded, path: unused.jsonl}}, base: {source: unused}}
prompts: {sources: [{path: unused.jsonl}]}
votes: {}
teacher_responses: {shards: SHARDS}
"""
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def main() -> None:
    """Write the tables, run both and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--responses", type=int, default=32, help="responses to each prompt")
    parser.add_argument("--shards", type=int, default=8, help="tables that they lie in")
    parser.add_argument("--peer-prompts", type=int, default=100, help="prompts that math-verify is given")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--exact-strings", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--math-verify", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.exact_strings:
        exact_strings(arguments.exact_strings)
        return
    if arguments.math_verify:
        math_verify_pairs(arguments.math_verify, arguments.peer_prompts)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(folder, arguments.prompts, arguments.responses, arguments.shards)
        stage = _voting(folder, arguments.shards)
        plain = timed([sys.executable, "-m", "bench.vote", "--exact-strings", str(folder)], Path.cwd())
        peer_prompts = min(arguments.peer_prompts, arguments.prompts)
        words = ["--math-verify", str(folder), "--peer-prompts", str(peer_prompts)]
        careful = timed([sys.executable, "-m", "bench.vote", *words], Path.cwd())
        differing = {name: compare(folder / f"{name}.json", Paths(folder).votes) for name in ("exact", "careful")}
    counts = [arguments.prompts * arguments.responses] * 2 + [peer_prompts * arguments.responses]
    found = {
        "benchmark": "vote",
        "surroundings": surroundings("pyarrow", "math-verify"),
        "prompts": arguments.prompts,
        "responses": arguments.responses,
        "shards": arguments.shards,
        "retort": stage,
        "exact_strings": plain,
        "math_verify": careful,
        "math_verify_prompts": peer_prompts,
        "labels_that_differ": differing,
    }
    rows = [
        [
            name,
            f"{count:,}",
            f"{one['seconds']:.1f}",
            f"{one['cpu_seconds']:.1f}",
            f"{one['peak_mb']:,.0f}",
            f"{count / one['seconds']:,.0f}",
            differs,
        ]
        for name, one, count, differs in (
            ("retort stage votes", stage, counts[0], "–"),
            ("exact strings", plain, counts[1], f"{differing['exact']:,} of {arguments.prompts:,}"),
            ("math-verify", careful, counts[2], f"{differing['careful']:,} of {peer_prompts:,}"),
        )
    ]
    head = ["", "responses", "seconds", "CPU seconds", "peak, MB", "responses/s", "labels that differ"]
    show(found, head, rows, as_json=arguments.json)


def _voting(folder: Path, shards: int) -> dict[str, float]:
    """The stages that read and count answers, one after another: several shards are read by a task each."""
    tasks = [["ballots", "--shard", str(shard)] for shard in range(shards)] if shards > 1 else []
    done = [timed([sys.executable, "-m", "retort", "stage", *task], folder) for task in [*tasks, ["votes"]]]
    added = {name: sum(one[name] for one in done) for name in ("seconds", "cpu_seconds")}
    return added | {"peak_mb": max(one["peak_mb"] for one in done)}


def write_tables(folder: Path, prompts: int, responses: int, shards: int) -> None:
    """Prompts and responses as the stages before `votes` would have written them."""
    from retort.io.tables import PROMPTS, write_table

    paths, rng = Paths(folder), random.Random(0)  # noqa: S311 - data of a benchmark
    (folder / "params.yaml").write_text(_CONFIG.replace("SHARDS", str(list(range(shards)))), encoding="utf-8")
    answers = [rng.randrange(10_000) for _ in range(prompts)]
    rows = [
        {
            "prompt_id": f"{number:016x}",
            "prompt": f"Problem {number}?",
            "answer": str(answer),
            "source": "-",
            "row": number,
        }
        for number, answer in enumerate(answers, start=1)
    ]
    write_table(paths.prompts("train"), rows, PROMPTS)
    write_table(paths.prompts("validation"), [], PROMPTS)
    for shard in range(shards):
        mine = list(zip(rows, answers, strict=True))[shard::shards]
        _write_shard(paths.responses("teacher", shard), mine, responses, rng)


def _write_shard(path: Path, prompts: list[tuple[dict[str, Any], int]], responses: int, rng: random.Random) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from retort.io.tables import RESPONSES

    ids = [row["prompt_id"] for row, _ in prompts for _ in range(responses)]
    texts = [write_response(answer, rng) for _, answer in prompts for _ in range(responses)]
    count = len(ids)
    columns = {
        "prompt_id": ids,
        "sample": list(range(responses)) * len(prompts),
        "source": ["teacher"] * count,
        "model": ["made up"] * count,
        "temperature": [0.7] * count,
        "seed": [0] * count,
        "response": texts,
        "finish_reason": ["stop"] * count,
        "prompt_tokens": [0] * count,
        "response_tokens": [0] * count,
        "mean_logprob": [None] * count,
        "reasoning": [None] * count,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=RESPONSES), path)


def write_response(answer: int, rng: random.Random) -> str:
    """A solution that states `answer` or, four times in ten, another number, in one of several ways."""
    stated = answer if rng.random() < 0.6 else rng.randrange(10_000)
    half = stated // 2
    work = f"First there are {half} of them.\nThen {half} + {stated - half} = {stated} are left.\n"
    if rng.random() < 0.02:
        return "First there are some of them.\nThen there are none, so I cannot tell.\n"
    end = (f"#### {stated:,}", f"The answer is {stated}.", f"So it is $\\boxed{{{stated}}}$", f"#### {stated}.00")
    return work + rng.choice(end)


def timed(command: list[str], folder: Path) -> dict[str, float]:
    """Wall time and peak memory of a command, which must succeed."""
    start = time.perf_counter()
    # A process between this one and the command: the peak of finished children is the greatest of all so far.
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_maxrss, used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    # ru_maxrss is in KiB on Linux and in bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    peak, processor = done.stdout.split()
    return {"seconds": seconds, "cpu_seconds": float(processor), "peak_mb": int(peak) * unit / 1e6}


def exact_strings(folder: Path) -> None:
    """Vote on exact strings; leaves the labels beside the tables for `compare`."""
    import pyarrow.parquet as pq

    ballots: dict[str, Counter[str]] = {}
    for file in sorted(folder.glob("outputs/teacher_responses/*.parquet")):
        table = pq.read_table(file, columns=["prompt_id", "response"])
        for prompt_id, response in zip(*(column.to_pylist() for column in table.columns), strict=True):
            numbers = _NUMBER.findall(response)
            if numbers:
                ballots.setdefault(prompt_id, Counter())[numbers[-1]] += 1
    labels = {prompt_id: ballot.most_common(1)[0][0] for prompt_id, ballot in ballots.items()}
    (folder / "exact.json").write_text(json.dumps(labels), encoding="utf-8")


def math_verify_pairs(folder: Path, most: int) -> None:
    """Vote on responses grouped by math-verify; leaves the labels of the first `most` prompts for `compare`."""
    import pyarrow.parquet as pq
    from math_verify import parse, verify

    ballots: dict[str, list[str]] = {}
    file = sorted(folder.glob("outputs/teacher_responses/*.parquet"))[0]
    table = pq.read_table(file, columns=["prompt_id", "response"])
    for prompt_id, response in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if prompt_id in ballots or len(ballots) < most:
            ballots.setdefault(prompt_id, []).append(response)
    labels = {}
    for prompt_id, responses in ballots.items():
        groups: list[list[Any]] = []
        for parsed in filter(None, (parse(response, parsing_timeout=None) for response in responses)):
            group = next((some for some in groups if verify(some[0], parsed, timeout_seconds=None)), None)
            if group is None:
                groups.append([parsed])
            else:
                group.append(parsed)
        if groups:
            labels[prompt_id] = str(max(groups, key=len)[0][0])
    (folder / "careful.json").write_text(json.dumps(labels), encoding="utf-8")


def compare(labels: Path, votes: Path) -> int:
    """Prompts on which a way's label and Retort's are different numbers, or only one of them has a label.

    Over the prompts that were voted on in that way: all of them by exact strings, the first ones by math-verify.
    """
    from retort.io.tables import VOTES, read_table
    from retort.text.equal import same_answer

    exact = json.loads(labels.read_text(encoding="utf-8"))
    differing = 0
    for row in read_table(votes, VOTES):
        if labels.stem == "careful" and row["prompt_id"] not in exact:
            continue
        other = exact.get(row["prompt_id"])
        one_only = (row["label"] is None) != (other is None)
        differing += one_only or (other is not None and not same_answer(row["label"], other, "number"))
    return differing


if __name__ == "__main__":
    main()
