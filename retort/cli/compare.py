"""`retort compare FIRST SECOND`: two models' results on one benchmark, item by item."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def compare(
    first: Annotated[Path, typer.Argument(help="Results of a model, as `outputs/evaluate/ppo-gsm8k.parquet`.")],
    second: Annotated[Path, typer.Argument(help="Results of another model on the same benchmark.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Compare two models by a paired test on the items that both answered."""
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
