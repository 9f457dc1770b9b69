"""`retort vote TASK FILE`: vote over recorded responses to a benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from retort.cli.options import own_task_of

if TYPE_CHECKING:
    from retort.votes.labels import VoteSummary

_FILES = "Responses: JSON lines, a JSON array or Parquet, gzipped or not; several files vote together."


def vote(
    task: Annotated[
        Literal["gsm8k", "gsm_plus", "mmlu_pro", "own"], typer.Argument(help="Benchmark, or `own` with --config.")
    ],
    files: Annotated[list[Path], typer.Argument(help=_FILES)],
    config: Annotated[
        Path | None, typer.Option(help="For `own`: the configuration, whose `answer` says how responses are read.")
    ] = None,
    min_share: Annotated[float, typer.Option(help="Abstain when the winner has a smaller share.", min=0, max=1)] = 0.0,
    min_margin: Annotated[float, typer.Option(help="Abstain when the winner leads by less.", min=0, max=1)] = 0.0,
    weights: Annotated[
        Literal["equal", "source"], typer.Option(help="Count each response once, or by its model.")
    ] = "equal",
    confidence: Annotated[
        Literal["agreement", "gold"], typer.Option(help="Learn confidence from held-out responses, or from gold.")
    ] = "agreement",
    as_json: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON.")] = False,
) -> None:
    """Vote over all responses to each question and measure the labels against the gold answers."""
    from retort.benchmarks.recorded import collect_recorded
    from retort.benchmarks.score import KINDS
    from retort.config.data import VotesConfig
    from retort.votes.answers import Counts
    from retort.votes.labels import count_votes

    own = own_task_of(task, config)
    settings = VotesConfig(min_share=min_share, min_margin=min_margin, weights=weights, confidence=confidence)
    counts = Counts()
    ballots = collect_recorded(task, files, counts, own)
    summary = count_votes(ballots, own.kind if own else KINDS[task], settings, counts).summary
    if as_json:
        print(json.dumps(asdict(summary), sort_keys=True))
    else:
        _show(task, summary)


def _show(task: str, summary: VoteSummary) -> None:
    print(f"{task}: {summary.responses} responses to {summary.prompts} questions")
    print(f"labelled            {summary.coverage:8.3%}   {summary.abstained} abstained")
    if summary.accuracy is not None and summary.sample_accuracy is not None:
        print(f"labels right        {summary.accuracy:8.3%}   of {summary.known}")
        print(f"responses right     {summary.sample_accuracy:8.3%}")
    for name, value in summary.sample_accuracy_by_model.items():
        weight = f"   weight {summary.source_weights[name]:.2f}" if name in summary.source_weights else ""
        print(f"  {name:<17} {value:8.3%}{weight}")
    print(f"unparsed            {summary.unparsed_share:8.3%}")
    for reason, count in summary.not_whole.items():
        print(f"  {reason:<17} {count:8}   not whole, no vote")
    if summary.unread_gold:
        print(f"gold not readable   {summary.unread_gold:8}")
    print(f"mean share          {summary.mean_share:8.3f}")
    print(f"agreement           {summary.agreement:8.3f}")
    print(f"entropy (nats)      {summary.entropy:8.3f}")
    if summary.mean_confidence is not None:
        print(f"mean confidence     {summary.mean_confidence:8.3f}   {summary.confidence}")
    if summary.brier:
        print("Brier score         " + "  ".join(f"{name}: {value:.4f}" for name, value in summary.brier.items()))
    for name, values in (("pass", summary.pass_at_k), ("maj", summary.maj_at_k)):
        print(f"{name + '@k':<20}" + "  ".join(f"{k}: {value:.3%}" for k, value in values.items()))
