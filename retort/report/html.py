"""Small pieces of HTML: tables, figures, legends. Everything that comes from data is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as _escape


def escape(text: str) -> str:
    """Text as HTML; a number is not parted from its percent sign, nor `n = ` from its number."""
    return _escape(text).replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    left: int = 1,
    strong: int | None = None,
    kind: str = "",
) -> str:
    """A table of escaped cells.

    Args:
        left: Columns, from the first, that are words and so stand at the left.
        strong: Row to emphasise.
        kind: Class of the box around it.
    """
    classes = [' class="left"' if number < left else "" for number in range(len(head))]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for cell, kind in zip(head, classes, strict=True))
    body = "".join(
        ('<tr class="strong">' if number == strong else "<tr>")
        + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    inside = f"<table>{words}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide{" " + kind if kind else ""}">{inside}</div>'


def figure(title: str, chart: str, caption: str = "", legend: Sequence[tuple[str, int]] = ()) -> str:
    """A chart with its title above and words below; nothing when the chart is empty."""
    if not chart:
        return ""
    keys = "".join(f'<span><i class="b{colour}"></i>{escape(name)}</span>' for name, colour in legend)
    return (
        f"<figure><h3>{escape(title)}</h3>"
        + (f'<div class="legend">{keys}</div>' if keys else "")
        + chart
        + (f"<figcaption>{escape(caption)}</figcaption>" if caption else "")
        + "</figure>"
    )


def figures(*drawn: str) -> str:
    """Figures side by side where the page is wide enough."""
    inside = "".join(drawn)
    return f'<div class="figures">{inside}</div>' if inside else ""


def section(name: str, title: str, *parts: str) -> str:
    """A section with a heading; nothing when there is nothing in it."""
    inside = "".join(parts)
    return f'<section id="{name}"><h2>{escape(title)}</h2>{inside}</section>' if inside else ""


def paragraphs(*texts: str, kind: str = "") -> str:
    """One paragraph for each text that is not empty."""
    mark = f' class="{kind}"' if kind else ""
    return "".join(f"<p{mark}>{escape(text)}</p>" for text in texts if text)


def tile(value: str, words: str, kind: str = "") -> str:
    """A number to be seen first."""
    mark = f' class="{kind}"' if kind else ""
    return f'<div class="tile"><b{mark}>{escape(value)}</b><span>{escape(words)}</span></div>'
