"""`retort vote TASK FILE`: vote over recorded responses to a benchmark."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer


def vote(
    task: Annotated[Literal["gsm8k", "gsm_plus", "mmlu_pro"], typer.Argument(help="Benchmark.")],
    file: Annotated[Path, typer.Argument(help="Responses: JSON lines, a JSON array or Parquet, gzipped or not.")],
    min_share: Annotated[float, typer.Option(help="Abstain when the winner has a smaller share.")] = 0.0,
    min_margin: Annotated[float, typer.Option(help="Abstain when the winner leads by less.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON.")] = False,
) -> None:
    """Vote over all responses to each question and measure the labels against the gold answers."""
    from retort.data.benchmarks import read_items
    from retort.text.score import KINDS
    from retort.text.summary import Ballot, summarise, vote_on

    kind = KINDS[task]
    ballots: dict[str, Ballot] = {}
    rules: Counter[str] = Counter()
    for item in read_items(task, file):
        ballots.setdefault(item.group, Ballot(item.answer)).add(item.response, kind, item.model, rules)
    votes = vote_on(list(ballots.values()), kind, min_share=min_share, min_margin=min_margin)
    summary = summarise(list(ballots.values()), votes, kind, rules)
    if as_json:
        print(json.dumps(asdict(summary), sort_keys=True))
        return
    print(f"{task}: {summary.responses} responses to {summary.prompts} questions")
    print(f"labelled            {summary.coverage:8.3%}   {summary.abstained} abstained")
    if summary.accuracy is not None and summary.sample_accuracy is not None:
        print(f"labels right        {summary.accuracy:8.3%}   of {summary.known}")
        print(f"responses right     {summary.sample_accuracy:8.3%}")
    for name, value in summary.sample_accuracy_by.items():
        print(f"  {name:<17} {value:8.3%}")
    print(f"unparsed            {summary.unparsed_share:8.3%}")
    print(f"mean share          {summary.mean_share:8.3f}")
    print(f"agreement           {summary.agreement:8.3f}")
    print(f"entropy (nats)      {summary.entropy:8.3f}")
    for name, values in (("pass", summary.pass_at_k), ("maj", summary.maj_at_k)):
        print(f"{name + '@k':<20}" + "  ".join(f"{k}: {value:.3%}" for k, value in values.items()))
