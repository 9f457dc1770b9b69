"""Charts: scales, ticks, and that a chart says what its numbers say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.report.charts import (
    HEIGHT,
    Interval,
    Series,
    histogram,
    interval_chart,
    line_chart,
    reliability_chart,
    thin,
    ticks,
)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_cover_the_data_in_few_round_steps(low: float, width: float) -> None:
    marks = ticks(low, low + width)
    assert marks[0] <= low + width * 1e-6
    assert marks[-1] >= low + width * (1 - 1e-6)
    assert len(marks) <= 7


def test_ticks_are_round_numbers() -> None:
    assert ticks(0.03, 0.97) == [0.0, 0.5, 1.0]
    assert ticks(0, 100) == [0, 50, 100]
    assert ticks(0, 100, 5) == [0, 20, 40, 60, 80, 100]


def test_thinned_curve_keeps_its_mean_and_its_end() -> None:
    points = [(float(x), float(x % 7)) for x in range(700)]
    few = thin(points, 100)
    assert len(few) == 100
    assert few[-1][0] == 699
    # runs of 7 neighbours hold each of 0..6 once, so every mean is 3
    assert {y for _, y in few} == {3.0}


def test_line_goes_up_when_values_do() -> None:
    chart = line_chart([Series("a", [(0, 1.0), (1, 2.0)])], label="a", x_label="x")
    first, last = re.search(r'points="([^"]+)"', chart)[1].split()
    assert float(first.split(",")[1]) > float(last.split(",")[1])  # drawing y grows downwards


def test_chart_without_points_is_no_chart() -> None:
    assert line_chart([Series("a", [])], label="a", x_label="x") == ""
    assert histogram([], label="a", x_label="x", width=1) == ""
    assert interval_chart([], label="a", x_format=str, zero=True) == ""


def test_bar_heights_are_in_proportion_to_shares() -> None:
    chart = histogram([Series("a", [(0.0, 0.2), (0.5, 0.4)])], label="a", x_label="x", width=0.5)
    heights = [float(height) for height in re.findall(r'class="bar[^>]*height="([\d.]+)"', chart)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)


def test_zero_line_stands_between_negative_and_positive() -> None:
    chart = interval_chart([Interval("d", 0.01, -0.01, 0.03, "")], label="d", x_format=str, zero=True)
    zero = float(re.search(r'class="zero" x1="([\d.]+)"', chart)[1])
    low, high = map(float, re.search(r'class="range c1" x1="([\d.]+)"[^>]*x2="([\d.]+)"', chart).groups())
    assert low < zero < high


def test_constant_curve_is_drawn() -> None:
    assert "polyline" in line_chart([Series("a", [(0, 1.0), (1, 1.0)])], label="a", x_label="x")


def test_words_in_charts_are_escaped() -> None:
    chart = line_chart([Series("a<b", [(0, 1.0)])], label='say "a<b"', x_label="x<y", dots=True)
    assert "a<b" not in chart.replace("a&lt;b", "")
    assert "x&lt;y" in chart


def parse(chart: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(chart).iter())  # noqa: S314 - our own text


def test_intervals_are_upright_lines_that_the_axis_reaches() -> None:
    text = line_chart([Series("a", [(0, 0.5), (1, 0.6)], 2, [(0.2, 0.7), (0.5, 0.9)])], label="x", x_label="x")
    lines = [element for element in parse(text) if element.get("class") == "line thin c2"]
    assert len(lines) == 2
    for line in lines:
        assert line.get("x1") == line.get("x2")
        assert 0 <= float(line.get("y2")) < float(line.get("y1")) <= HEIGHT


def test_a_reliability_chart_draws_the_interval_of_each_bin_at_its_mean_prediction() -> None:
    series = [Series("a", [(0.25, 0.3), (0.75, 0.7)])]
    text = reliability_chart(series, label="x", counts=[[5, 9]], ranges=[(0.25, 0.1, 0.5), (0.75, 0.6, 0.8)])
    elements = parse(text)
    whiskers = [element for element in elements if element.get("class") == "line thin c1" and element.get("x1")]
    dots = [element for element in elements if (element.get("class") or "").startswith("dot")]
    assert [line.get("x1") for line in whiskers] == [dot.get("cx") for dot in dots]
    for line, dot in zip(whiskers, dots, strict=True):
        assert float(line.get("y2")) < float(dot.get("cy")) < float(line.get("y1"))
