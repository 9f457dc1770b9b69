"""`retort check`: what a run would stumble over, found before anything is started."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from retort.cli import options


def check(
    config: Annotated[Path, typer.Argument(help="Configuration, such as configs/demo.yaml.")],
    profile: options.Profile = "generic",
    gpu: Annotated[str, typer.Option(help="Kind of GPU, as of `retort plan`.")] = "H100-80",
    longest_prompt: Annotated[int, typer.Option(min=1, help="Longest formatted prompt in tokens.")] = 240,
    changes: options.Changes = None,
    as_json: options.AsJson = False,
) -> None:
    """Compile and plan a run with the shapes of its models, without weights, and say what it would fail by.

    Exit code 65 where it would.
    """
    from retort_pipelines.graph.compile import compile as write
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs.submit import check_images

    from retort.config import load_config
    from retort.errors import DO_NOT_RETRY, ConfigError
    from retort.plan import check as checks
    from retort.plan.assumptions import Assumptions, count_prompts
    from retort.plan.devices import find
    from retort.plan.setting import Setting
    from retort.plan.walk import plan
    from retort.run.tasks import graph

    loaded, placed, root = load_config(config, changes=changes or []), load_profile(profile), Path()
    assume = Assumptions(
        prompt_tokens=min(120, longest_prompt),
        longest_prompt=longest_prompt,
        response_share=0.35,
        prompts=count_prompts(loaded, root),
        mfu=0.35,
        bandwidth_share=0.6,
        step_overhead_s=0.025,
    )
    device = find(gpu)
    found = [
        *checks.memory(plan(loaded, device, assume, root)),
        *checks.settings(Setting(loaded, device, assume, root)),
    ]
    try:
        check_images(graph(loaded, root), placed)
    except ConfigError as error:
        found.append(checks.Finding(f"profile {profile}", str(error), "", fatal=True))
    with TemporaryDirectory() as folder:
        write(loaded, placed, Path(folder) / "pipeline.yaml")
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            print(f"{'fails' if one.fatal else 'warns'}  {one.place}: {one.problem}. {one.remedy}".rstrip(". ") + ".")
        print(f"{config}: {sum(one.fatal for one in found)} would fail a run, {len(found)} found in all")
    if any(one.fatal for one in found):
        sys.exit(DO_NOT_RETRY)
