"""`retort compare`: two tables of results item by item, or the models of runs against what they cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Two tables of results of one benchmark (`outputs/evaluate/ppo-gsm8k.parquet`), or runs by name or "
            "folder (`demo demo-1`)."
        ),
    ],
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="FIRST:SECOND", help="Of runs: compare these models, RUN/MODEL where several."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Of runs: draw accuracy against compute to this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Compare two models on the items that both answered, or the models of runs and seeds by accuracy and cost."""
    from retort.errors import ConfigError
    from retort.run.find import workspace

    if len(results) == 2 and all(path.suffix == ".parquet" for path in results) and pairs is None and plot is None:
        _files(*results, as_json=as_json)
    elif not any(path.suffix == ".parquet" for path in results):
        _runs([workspace(path) for path in results], pairs, plot, as_json=as_json)
    else:
        raise ConfigError("give two tables of results, or runs, with which --pair and --plot go.")


def _runs(roots: list[Path], pairs: list[str] | None, plot: Path | None, *, as_json: bool) -> None:
    from retort.report import compared

    found = compared.compare_runs(roots, pairs)
    if plot is not None:
        compared.write_plot(plot, found)
    print(json.dumps(compared.as_plain(found), sort_keys=True) if as_json else "\n".join(compared.lines(found)))


def _files(first: Path, second: Path, *, as_json: bool) -> None:
    from retort.evaluation.compare import compare_files

    found = compare_files(first, second)
    if as_json:
        print(json.dumps(asdict(found), sort_keys=True))
        return
    sources = f" from {found.groups} sources" if found.groups < found.n else ""
    print(f"{found.n} items{sources}; {found.left_out} that only one model answered are left out")
    for name, one in (("first", found.first), ("second", found.second)):
        print(f"{name:<12}{one.accuracy:8.2%}   {one.low:.2%} to {one.high:.2%}")
    interval = f"{found.low:+.2%} to {found.high:+.2%}" if found.low < found.high else "no interval: all items alike"
    print(f"difference  {found.difference:+8.2%}   {interval}")
    print(f"p           {found.p_value:8.4f}   {_TESTS[found.test]}")
    print(f"only first right {found.only_first_right}, only second right {found.only_second_right}")
    print(f"detectable  {found.minimum_detectable_difference:8.2%}   at a power of 80 %")


_TESTS = {
    "mcnemar": "McNemar's exact test",
    "sign_flip": "models exchanged within whole sources, 20,000 times",
}
