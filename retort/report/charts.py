"""Charts as inline SVG text: the same numbers give the same bytes, and colours come from the page's style sheet.

Every chart is 400 units wide, so that text keeps its size in one column of a narrow page as in two of a wide one.
Marks carry a `<title>`, which browsers show when pointed at; no script is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 22, 12, 40
_MOST_POINTS = 160
_LETTER = 6.4
"""Width of a letter of the numbers beside an interval chart, at most."""
_COLOURS = 5

Format = Callable[[float], str]
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A named sequence of points, drawn in the page's colour number `colour` (1 to 5)."""

    name: str
    points: Sequence[Point]
    colour: int = 1
    ranges: Sequence[Point] = ()
    """Lower and upper end of an interval at each point, where there are intervals; for points too few to be thinned."""


@dataclass(frozen=True)
class Axis:
    """Linear scale from data to the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)


def plain(value: float) -> str:
    """A number for an axis: short, without a trailing zero."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value / 1000:.4g}k"


def percent(value: float) -> str:
    """A share as a percentage, without decimals."""
    return f"{100 * value:.3g} %"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover `low` to `high` in about `count` steps."""
    if not math.isfinite(high - low) or high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most `most` points: means of equal runs of neighbours, so that long curves stay small and legible."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    x_format: Format = plain,
    y_format: Format = plain,
    x_mark: tuple[float, str] | None = None,
    dots: bool = False,
    include: Sequence[float] = (),
) -> str:
    """Curves over one x axis.

    Args:
        label: What the chart shows, for readers who cannot see it.
        x_mark: Position and words of a vertical line, such as the kept checkpoint.
        dots: Draw the points too: for few, measured ones.
        include: Values that the y axis must reach.
    """
    drawn = [Series(item.name, thin(item.points), item.colour, item.ranges) for item in series if item.points]
    if not drawn:
        return ""
    xs = [x for item in drawn for x, _ in item.points] + ([x_mark[0]] if x_mark else [])
    ys = [y for item in drawn for _, y in item.points] + list(include)
    ys += [end for item in drawn for ends in item.ranges for end in ends]
    y_ticks = ticks(min(ys), max(ys)) if max(ys) > min(ys) else ticks(min(ys) - 0.5, max(ys) + 0.5)
    x_axis, y_axis = _x_axis(min(xs), max(xs)), _y_axis(y_ticks[0], y_ticks[-1])
    parts = [_grid_y(y_ticks, y_axis, y_format), _ticks_x(ticks(min(xs), max(xs), 5), x_axis, x_format, x_label)]
    if x_mark:
        parts.append(_vertical(x_axis(x_mark[0])))
    for item in drawn:
        places = [(x_axis(x), y_axis(y)) for x, y in item.points]
        parts += [
            _whisker(x, y_axis(low), y_axis(high), item.colour)
            for (x, _), (low, high) in zip(places, item.ranges, strict=False)
        ]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="line c{item.colour}" points="{path}"/>')
        if dots or len(places) == 1:
            parts += [
                f'<circle class="dot f{item.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
                f"<title>{escape(f'{item.name}: {y_format(value)} at {x_format(at)}')}</title></circle>"
                for (x, y), (at, value) in zip(places, item.points, strict=True)
            ]
    if x_mark:  # over the curves
        parts.append(_beside(x_axis(x_mark[0]), x_mark[1]))
    return _svg(label, parts)


def cost_chart(
    points: Sequence[tuple[str, float, float, Point]], *, label: str, x_label: str, x_format: Format = plain
) -> str:
    """Accuracy against cost: a named dot with its interval for each (name, cost, accuracy, interval).

    Costs lie on a logarithmic scale; what cost nothing stands at its left end, apart.
    """
    paid = [cost for _, cost, _, _ in points if cost > 0]
    if not paid:
        return ""
    low = math.log10(min(paid))
    high = max(math.log10(max(paid)), low + 0.5)
    free = low - 0.15 * (high - low)
    x_axis = _x_axis(free - 0.05 * (high - low), high + 0.05 * (high - low))
    y_ticks = ticks(min(ends[0] for *_, ends in points), max(ends[1] for *_, ends in points))
    y_axis = _y_axis(y_ticks[0], y_ticks[-1])
    parts = [_grid_y(y_ticks, y_axis, percent)]
    parts += [_text(x_axis(at), HEIGHT - _BOTTOM + 16, words, "middle") for at, words in _powers(low, high, x_format)]
    if any(cost <= 0 for _, cost, _, _ in points):
        parts.append(_text(x_axis(free), HEIGHT - _BOTTOM + 16, "0", "middle"))
    parts.append(_text((x_axis.start + x_axis.end) / 2, HEIGHT - 6, x_label, "middle"))
    for number, (name, cost, value, (lower, upper)) in enumerate(points):
        colour = number % _COLOURS + 1
        x, y = x_axis(math.log10(cost) if cost > 0 else free), y_axis(value)
        right = x > WIDTH * 0.6
        parts.append(_whisker(x, y_axis(lower), y_axis(upper), colour))
        parts.append(
            f'<circle class="dot f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
            f"<title>{escape(f'{name}: {percent(value)} at {x_format(cost)}')}</title></circle>"
        )
        parts.append(_text(x - 7 if right else x + 7, y + 4, name, "end" if right else "start", "name"))
    return _svg(label, parts)


def _powers(low: float, high: float, form: Format) -> list[tuple[float, str]]:
    """Places and words of whole powers of ten between two logarithms; the ends where there is none."""
    whole = [float(power) for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    return [(power, form(10.0**power)) for power in whole or [low, high]]


def histogram(series: Sequence[Series], *, label: str, x_label: str, width: float, x_format: Format = plain) -> str:
    """Shares of each series over bins of one `width`; bars of several series stand side by side within a bin.

    Points are (left edge of the bin, share).
    """
    drawn = [item for item in series if item.points]
    if not drawn:
        return ""
    edges = sorted({x for item in drawn for x, _ in item.points})
    y_ticks = ticks(0.0, max(y for item in drawn for _, y in item.points) or 1.0)
    x_axis, y_axis = _x_axis(edges[0], edges[-1] + width), _y_axis(0.0, y_ticks[-1])
    parts = [
        _grid_y(y_ticks, y_axis, percent),
        _ticks_x(ticks(edges[0], edges[-1] + width, 5), x_axis, x_format, x_label),
    ]
    bar = (x_axis(edges[0] + width) - x_axis(edges[0]) - 2) / len(drawn)
    for number, item in enumerate(drawn):
        for left, share in item.points:
            if share <= 0:
                continue
            x, y = x_axis(left) + 1 + number * bar, y_axis(share)
            words = f"{item.name}: {percent(share)} from {x_format(left)} to {x_format(left + width)}"
            parts.append(
                f'<rect class="bar f{item.colour}" x="{x:.1f}" y="{y:.1f}" width="{max(bar - 1, 1):.1f}" '
                f'height="{y_axis(0.0) - y:.1f}"><title>{escape(words)}</title></rect>'
            )
    return _svg(label, parts)


def reliability_chart(
    series: Sequence[Series],
    *,
    label: str,
    counts: Sequence[Sequence[int]],
    ranges: Sequence[tuple[float, float, float]] = (),
) -> str:
    """Predicted probability against observed share, one dot a bin, its area by the bin's count.

    Points on the dashed diagonal are calibrated. `ranges` are upright lines in the first series' colour: at, from, to.
    """
    x_axis, y_axis = _x_axis(0.0, 1.0), _y_axis(0.0, 1.0)
    marks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [_grid_y(marks, y_axis, percent), _ticks_x(marks, x_axis, percent, "predicted probability")]
    parts.append(
        f'<line class="ideal" x1="{x_axis(0):.1f}" y1="{y_axis(0):.1f}" x2="{x_axis(1):.1f}" y2="{y_axis(1):.1f}"/>'
    )
    parts += [_whisker(x_axis(at), y_axis(low), y_axis(high), series[0].colour) for at, low, high in ranges]
    most = max((count for row in counts for count in row), default=1) or 1
    for place, (item, numbers) in enumerate(zip(series, counts, strict=True)):
        # Later series are rings, so that a dot under one stays visible.
        kind = f"ring c{item.colour}" if place else f"dot f{item.colour}"
        places = [(x_axis(x), y_axis(y)) for x, y in item.points]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="line thin c{item.colour}" points="{path}"/>')
        for (x, y), (predicted, observed), number in zip(places, item.points, numbers, strict=True):
            words = f"{item.name}: predicted {percent(predicted)}, observed {percent(observed)}, n = {number}"
            radius = 2.5 + 6 * math.sqrt(number / most)
            parts.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
                f"<title>{escape(words)}</title></circle>"
            )
    return _svg(label, parts)


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart."""

    name: str
    value: float
    low: float
    high: float
    words: str
    """The numbers as text, at the right."""
    colour: int = 1


def interval_chart(rows: Sequence[Interval], *, label: str, x_format: Format, zero: bool) -> str:
    """Estimates with their intervals, one a row; `zero` draws the line that an interval must clear."""
    if not rows:
        return ""
    row_height, top, name_width = 30, 10, 130
    words_width = max(len(row.words) for row in rows) * _LETTER + 18  # so that no line reaches the numbers
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    marks = ticks(low, high, 3)
    axis = Axis(marks[0], marks[-1], name_width, WIDTH - words_width)
    bottom = top + row_height * len(rows)
    parts = []
    for mark in marks:
        kind = "zero" if zero and mark == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{axis(mark):.1f}" y1="{top}" x2="{axis(mark):.1f}" y2="{bottom}"/>')
        parts.append(_text(axis(mark), bottom + 15, x_format(mark), "middle"))
    for number, row in enumerate(rows):
        y = top + row_height * (number + 0.5)
        parts.append(_text(0, y + 4, row.name, "start", "name"))
        if row.low < row.high:
            parts.append(
                f'<line class="range c{row.colour}" x1="{axis(row.low):.1f}" y1="{y:.1f}" '
                f'x2="{axis(row.high):.1f}" y2="{y:.1f}"/>'
            )
        parts.append(
            f'<circle class="dot f{row.colour}" cx="{axis(row.value):.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{escape(f'{row.name}: {row.words}')}</title></circle>"
        )
        parts.append(_text(WIDTH, y + 4, row.words, "end", "value"))
    return _svg(label, parts, bottom + 22)


def _x_axis(low: float, high: float) -> Axis:
    return Axis(low, high if high > low else low + 1, _LEFT, WIDTH - _RIGHT)


def _y_axis(low: float, high: float) -> Axis:
    return Axis(low, high if high > low else low + 1, HEIGHT - _BOTTOM, _TOP)


def _grid_y(marks: Sequence[float], axis: Axis, form: Format) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{axis(mark):.1f}" x2="{WIDTH - _RIGHT}" y2="{axis(mark):.1f}"/>'
        + _text(_LEFT - 6, axis(mark) + 4, form(mark), "end")
        for mark in marks
    )


def _ticks_x(marks: Sequence[float], axis: Axis, form: Format, words: str) -> str:
    inside = [mark for mark in marks if axis.low - 1e-9 <= mark <= axis.high + 1e-9]
    return "".join(_text(axis(mark), HEIGHT - _BOTTOM + 16, form(mark), "middle") for mark in inside) + _text(
        (axis.start + axis.end) / 2, HEIGHT - 6, words, "middle"
    )


def _vertical(x: float) -> str:
    return f'<line class="mark" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{HEIGHT - _BOTTOM}"/>'


def _beside(x: float, words: str) -> str:
    """Words at the foot of a vertical line, on the side where there is room."""
    right = x > WIDTH * 0.6
    return _text(x - 5 if right else x + 5, HEIGHT - _BOTTOM - 6, words, "end" if right else "start")


def _whisker(x: float, low: float, high: float, colour: int) -> str:
    return f'<line class="line thin c{colour}" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(label: str, parts: Sequence[str], height: float = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
