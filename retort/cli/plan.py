"""`retort plan`: what a configuration needs of a GPU, before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def plan(
    config: Annotated[Path, typer.Argument(help="Configuration, such as configs/demo.yaml.")],
    gpu: Annotated[
        str, typer.Option(help="H200-141, H100-80, A100-80, A100-40, L40S-48, A10-24 or L4-24.")
    ] = "H100-80",
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Mean length of a formatted prompt.")] = 120,
    longest_prompt: Annotated[int, typer.Option(min=1, help="Longest formatted prompt.")] = 240,
    response_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Mean length of a response, as a share of max_new_tokens.")
    ] = 0.35,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Training prompts; counted where the sources are files here.")
    ] = None,
    mfu: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the GPU's peak FLOP/s.")] = 0.35,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together (`retort stage --processes`), one a GPU.")
    ] = 1,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Change one value: section.key=VALUE.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as one JSON object.")] = False,
) -> None:
    """Print memory, tokens, FLOPs and hours of each stage; no weights are loaded."""
    from retort.config import load_config
    from retort.plan.assumptions import Assumptions, count_prompts
    from retort.plan.devices import find
    from retort.plan.table import lines
    from retort.plan.walk import plan as make

    settings, root = load_config(config, changes=changes or []), Path()
    assume = Assumptions(
        prompt_tokens=prompt_tokens,
        longest_prompt=max(longest_prompt, prompt_tokens),
        response_share=response_share,
        prompts=prompts or count_prompts(settings, root),
        mfu=mfu,
        bandwidth_share=0.6,
        step_overhead_s=0.025,
    )
    found = make(settings, find(gpu), assume, root, processes=processes)
    print(json.dumps(found.as_json(), sort_keys=True) if as_json else "\n".join(lines(found)))
