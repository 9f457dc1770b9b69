"""`retort score TASK FILE`: score recorded responses to a benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer


def score(
    task: Annotated[Literal["gsm8k", "gsm_plus", "mmlu_pro"], typer.Argument(help="Benchmark.")],
    file: Annotated[
        Path, typer.Argument(help="Responses: JSON lines, a JSON array or Parquet, plain, gzipped or zipped.")
    ],
    rows: Annotated[
        Path | None,
        typer.Option(help="Write both verdicts on each response, and why they differ, to this file (JSON lines)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score responses by Retort's reading and by the benchmark's published rules."""
    from retort.benchmarks.items import read_items
    from retort.benchmarks.score import score as score_items
    from retort.io.files import atomic_path

    if rows is None:
        scores = score_items(task, read_items(task, file))
    else:
        with atomic_path(rows) as temporary, temporary.open("w", encoding="utf-8") as out:
            scores = score_items(
                task, read_items(task, file), each=lambda row: print(json.dumps(asdict(row), sort_keys=True), file=out)
            )
    if as_json:
        print(json.dumps(asdict(scores), sort_keys=True))
        return
    print(f"{task}: {scores.rows} responses")
    print(f"accuracy            {scores.accuracy:8.3%}   {scores.unparsed} unparsed ({scores.unparsed_share:.2%})")
    if scores.looser_reads:
        expected = f"{scores.looser_expected:.1f} +- {scores.looser_deviation:.1f}"
        print(f"  of those, l2 reads {scores.looser_reads}: {scores.looser_right} right, {expected} by chance")
    for rule, value in scores.official_accuracies.items():
        mark = "   official_accuracy" if rule == scores.official_rule else ""
        print(f"  {rule:<17} {value:8.3%}{mark}")
    for kind, count in scores.differences.items():
        print(f"  {kind:<26} {count:6}")
    if scores.label_agreement is not None:
        print(f"labels in the file  {scores.label_accuracy:8.3%}")
        print(f"label agreement     {scores.label_agreement:8.3%}   {scores.label_agreements}/{scores.labels}")
    if len(scores.by_model) > 1:
        for model, value in scores.by_model.items():
            print(f"  {model:<17} {value:8.3%}")
    print("read by             " + ", ".join(f"{rule} {count}" for rule, count in scores.rules.items()))
