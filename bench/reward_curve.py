"""How good the reward model gets with more prompts: `python -m bench.reward_curve WORKSPACE [--svg FILE] [--json]`.

Trains a learned reward of a finished run (its tables, models and params.yaml; nothing there is written) on 1/8, 1/4,
1/2 and all of its training prompts, a part within the next, and measures each on the gate's half of the held-out
prompts. Steps and batch are those of the run: fewer prompts are seen more often, and the best state is kept as always.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figure import write_figure
from bench.surroundings import show, surroundings
from retort.config.run import TEACHER
from retort.io.tables import REWARD_EXAMPLES, read_rows
from retort.report.charts import Series, line_chart
from retort.run.stage import context_of


def main() -> None:
    """Train on every part and print what came out."""
    from retort.report.reward import HEAD, reward_rows

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="a finished run, such as runs/demo")
    parser.add_argument("--reward", default="learned", help="which of the run's rewards")
    parser.add_argument("--parts", type=int, nargs="+", default=[8, 4, 2, 1], help="train on 1/N of the prompts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--svg", type=Path, help="draw the AUC there")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    made = surroundings("torch", "transformers")
    curve = measure(arguments.workspace, arguments.parts, reward=arguments.reward, threads=arguments.threads)
    if arguments.svg:
        draw(curve, arguments.svg)
    rows = [[f"{point['prompts']:,}", f"{point['examples']:,}", *row] for point in curve for row in reward_rows(point)]
    found = {"workspace": str(arguments.workspace), "curve": curve, "surroundings": made}
    show(found, ["Prompts", "Examples", *HEAD], rows, as_json=arguments.json)


def measure(
    workspace: Path, parts: Sequence[int], *, reward: str = "learned", threads: int = 1
) -> list[dict[str, Any]]:
    """Size, kept step and figures by source of a reward model trained on 1/N of the prompts, for each N of `parts`."""
    import torch

    from retort.rewards.learned.examples import prepare
    from retort.rewards.learned.halves import held_out_part
    from retort.stages.reward import build, fit, quality

    torch.set_num_threads(threads)
    context = context_of("reward", {"reward": reward}, workspace)
    config, paths = context.config.reward_settings(reward), context.paths
    model = build(context)
    every = config.loss == "every_token"
    scratch = Path(tempfile.gettempdir())
    train, held = (
        prepare(
            model,
            read_rows(paths.reward_data(reward, split), REWARD_EXAMPLES),
            config.max_length,
            folder=scratch,
            every_token=every and split == "train",
        )
        for split in ("train", "validation")
    )
    select, gate = (
        held.only([i for i, row in enumerate(held.rows) if held_out_part(row["prompt_id"]) == part])
        for part in ("select", "gate")
    )
    curve = []
    for part in parts:
        torch.manual_seed(context.config.seed)
        model = build(context)
        some = train.only(places(train.rows, part))
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            state.mkdir()
            step = fit(context, model, some, select, state=state, curves_folder=Path(folder) / "curves")
        scores = model.score_tokens(gate.tokens, gate.features, batch_size=256).tolist()
        rows = [row | {"score": score} for row, score in zip(gate.rows, scores, strict=True)]
        names = dict.fromkeys(row["source"] for row in rows)
        sources = {name: [row for row in rows if row["source"] == name] for name in names}
        prompts = len({row["prompt_id"] for row in some.rows})
        found = {name: asdict(quality(mine)) for name, mine in sources.items()}
        curve.append({"prompts": prompts, "examples": len(some), "step": step, "by_source": found})
    return curve


def places(rows: Sequence[dict[str, Any]], part: int) -> list[int]:
    """Rows of the first 1/`part` of the prompts, in an order that depends on nothing but their ids."""
    prompts = sorted({row["prompt_id"] for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
    kept = set(prompts[: max(1, len(prompts) // part)])
    return [place for place, row in enumerate(rows) if row["prompt_id"] in kept]


def draw(curve: Sequence[dict[str, Any]], file: Path) -> None:
    """The AUC on each student's and the teacher's responses over the number of prompts, with intervals."""
    series = []
    every = dict.fromkeys(name for point in curve for name in point["by_source"])
    for place, source in enumerate(sorted(every, key=lambda name: name == TEACHER)):
        colour, aside = place + 1, 0.006 * place
        points = [point for point in curve if source in point["by_source"]]
        found = [point["by_source"][source] for point in points]
        shift = aside * max(point["prompts"] for point in curve)  # so that the intervals do not hide each other
        series.append(
            Series(
                f"{source} responses",
                [(point["prompts"] + shift, one["auc"]) for point, one in zip(points, found, strict=True)],
                colour,
                [tuple(one["intervals"]["auc"]) for one in found],
            )
        )
    words = "AUC on held-out prompts, 95 % intervals"
    chart = line_chart(series, label=words, x_label="training prompts", dots=True)
    write_figure(file, chart, title=words, series=series)


if __name__ == "__main__":
    main()
