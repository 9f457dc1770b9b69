"""Stage `report`: the run's numbers, Markdown and model card, versioned; and an HTML page beside them, which is not.

The page also shows wall times, money and the lineage, which differ between runs of the same content, so it lies
outside `outputs`, at `report.html` in the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config import RetortConfig, load_keys
from retort.io.files import atomic_path, write_json, write_text
from retort.run.graph import Task
from retort.run.paths import TASK, Paths
from retort.run.stage import Context, read_task

PAGE = "report.html"
"""Name of the page in the workspace."""


@dataclass(frozen=True)
class ReportResult:
    """The numbers that a run is judged by, on its primary benchmark."""

    benchmark: str
    final_model: str
    gate_passed: bool | None
    models: dict[str, dict[str, Any]]
    paired: dict[str, dict[str, Any]]


def run(context: Context) -> ReportResult:
    """Write `outputs/report`, `metrics/summary.json` and the page.

    Raises:
        InputError: a table or metrics file that the report needs is missing or malformed.
    """
    from retort.report.card import render_card
    from retort.report.findings import gather
    from retort.report.markdown import render_markdown
    from retort.report.metrics import as_metrics, summary

    findings = gather(context.paths, context.config, context.task)
    metrics = as_metrics(findings)
    with atomic_path(context.paths.report) as folder:
        write_json(folder / "metrics.json", metrics)
        write_text(folder / "report.md", render_markdown(findings))
        write_text(folder / "model_card.md", render_card(findings))
    write_json(context.paths.summary, summary(findings))
    _write_page(context.paths, context.config, context.task)
    return ReportResult(**{name: metrics[name] for name in ReportResult.__dataclass_fields__})


def write_page(paths: Paths) -> Path:
    """Render the page from what lies in the workspace, and return its path.

    Raises:
        ConfigError: the workspace's configuration is wrong.
        InputError: a table or metrics file that the page needs is missing or malformed.
    """
    task, keys = read_task("report", {}, paths.root)
    return _write_page(paths, load_keys(paths.root / "params.yaml", keys), task)


def _write_page(paths: Paths, config: RetortConfig, task: Task) -> Path:
    from retort.report.compared import compare_runs
    from retort.report.costs import wall_times
    from retort.report.findings import gather
    from retort.report.lineage import read_lineage
    from retort.report.made import made
    from retort.report.page import render_page
    from retort.report.prices import read_prices

    in_pod = (paths.root / TASK).exists()
    page = render_page(
        gather(paths, config, task),
        samples=config.report.samples,
        seconds=wall_times(paths.timing(task.address).parent),
        prices=read_prices(paths.root / "params.yaml"),
        lineage=read_lineage(paths.root / "dvc.lock"),
        # A pod knows a part of the settings alone.
        made=None if in_pod else made(paths.root),
        compared=None if in_pod else compare_runs([paths.root]),
    )
    write_text(paths.root / PAGE, page)
    return paths.root / PAGE
