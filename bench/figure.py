"""A chart of the report as an SVG file of its own, for the documentation: colours for light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from retort.io.files import write_text
from retort.report.charts import HEIGHT, WIDTH, Series

_TOP = 46
"""Room above the chart for its title and the names of the series."""


def write_figure(file: Path, chart: str, *, title: str, series: Sequence[Series]) -> None:
    """Write `chart`, one of `retort.report.charts`, with what a page would set around it."""
    left, keys = 2.0, []
    for item in series:
        keys.append(f'<rect class="f{item.colour}" x="{left:.0f}" y="-21" width="9" height="9"/>')
        keys.append(f'<text x="{left + 13:.0f}" y="-13">{escape(item.name)}</text>')
        left += 25 + 6.2 * len(item.name)
    head = f'<text class="name" x="2" y="-31" font-weight="600">{escape(title)}</text>' + "".join(keys)
    drawn = chart.replace(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT:g}"',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.6 * WIDTH:.0f}" '
        f'viewBox="-6 {-_TOP} {WIDTH + 12} {HEIGHT + _TOP + 6:g}"',
    )
    start = drawn.index(">") + 1
    write_text(file, f"{drawn[:start]}<style>{_style()}</style>{head}{drawn[start:]}\n")


def _style() -> str:
    """The rules of the report's page that concern charts."""
    css = resources.files("retort.report").joinpath("page.css").read_text(encoding="utf-8")
    colours = css[: css.index("* { box-sizing")]
    rules = [line for line in css.splitlines() if line.startswith(("svg .", "svg text", ".c1 ", ".f1 "))]
    font = 'svg { background: var(--card); font-family: system-ui, "DejaVu Sans", sans-serif; }'
    return "\n".join([colours, font, *rules])
