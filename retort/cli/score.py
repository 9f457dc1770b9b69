"""`retort score TASK FILE`: score recorded responses to a benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from retort.cli.options import own_task_of


def score(
    task: Annotated[
        Literal["gsm8k", "gsm_plus", "mmlu_pro", "own"], typer.Argument(help="Benchmark, or `own` with --config.")
    ],
    file: Annotated[
        Path, typer.Argument(help="Responses: JSON lines, a JSON array or Parquet, plain, gzipped or zipped.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="For `own`: the configuration, whose `answer` says how responses are read.")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="Write both verdicts on each response, and why they differ, to this file (JSON lines)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score responses by Retort's reading and by the benchmark's published rules."""
    from retort.benchmarks.recorded import task_items
    from retort.benchmarks.score import score as score_items
    from retort.io.files import atomic_path

    own = own_task_of(task, config)
    items, kind = task_items(task, file, own), own.kind if own else None
    if rows is None:
        scores = score_items(task, items, kind=kind)
    else:
        with atomic_path(rows) as temporary, temporary.open("w", encoding="utf-8") as out:
            scores = score_items(
                task, items, kind=kind, each=lambda row: print(json.dumps(asdict(row), sort_keys=True), file=out)
            )
    if as_json:
        print(json.dumps(asdict(scores), sort_keys=True))
        return
    print(f"{task}: {scores.rows} responses")
    print(f"accuracy            {scores.accuracy:8.3%}   {scores.unparsed} unparsed ({scores.unparsed_share:.2%})")
    if scores.looser_reads:
        expected = f"{scores.looser_expected:.1f} +- {scores.looser_deviation:.1f}"
        print(f"  of those, l2 reads {scores.looser_reads}: {scores.looser_right} right, {expected} by chance")
    for reason, count in scores.not_whole.items():
        print(f"  {reason:<17} {count:8}   not whole, read as it is")
    if scores.without_gold:
        print(f"not scored          {scores.without_gold:8}   without a gold answer that can be read")
    for rule, value in scores.official_accuracies.items():
        mark = "   official_accuracy" if rule == scores.official_rule else ""
        print(f"  {rule:<17} {value:8.3%}{mark}")
    for why, count in scores.differences.items():
        print(f"  {why:<26} {count:6}")
    if scores.label_agreement is not None:
        print(f"labels in the file  {scores.label_accuracy:8.3%}")
        print(f"label agreement     {scores.label_agreement:8.3%}   {scores.label_agreements}/{scores.labels}")
    if len(scores.by_model) > 1:
        for model, value in scores.by_model.items():
            print(f"  {model:<17} {value:8.3%}")
    print("read by             " + ", ".join(f"{rule} {count}" for rule, count in scores.rules.items()))
