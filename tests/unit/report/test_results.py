"""The tables of results: every rule on the same responses, what they cost, and the models compared."""

from __future__ import annotations

import pytest

from retort.report.markdown import pair_table, table
from retort.report.outline import Outline, Student
from retort.report.prices import Prices
from retort.report.results import comparison_columns, kept_out, result_columns, rows_of
from retort.report.scores import compare_models
from retort.run.stage import run_stage

LINES = Outline(
    order=["sft", "ppo"],
    labels={"sft": "SFT student", "ppo": "PPO student"},
    students={
        "sft": Student("sft", method="sft", wanted="base", start="base", base="base"),
        "ppo": Student("ppo", method="ppo", wanted="sft", start="sft", base="base"),
    },
    final="ppo",
    result="ppo",
    pairs=[("ppo", "sft")],
    claims=[("ppo", "sft")],
)


@pytest.fixture
def benchmark(item_results):
    """SFT right on 15 of 20 items in ten sources of two, PPO on 19."""
    rows = {"sft": item_results([True] * 15 + [False] * 5, unread=2), "ppo": item_results([True] * 19 + [False])}
    for one in rows.values():
        for place, row in enumerate(one):
            row["group_id"] = f"source-{place // 2}"
    return compare_models("gsm_plus", rows, [("ppo", "sft")])


def test_each_rule_and_the_cost_have_a_column(benchmark):
    # 20 items of 30 prompt and 10 response tokens: (600 x 1 + 200 x 4) / 1e6
    prices = Prices({"ppo": (1.0, 4.0)})
    text = table(*rows_of(result_columns(benchmark, LINES, prices)))
    head, first, second = (line.split(" | ") for line in text.splitlines() if "---" not in line)
    rows = dict(zip(head, first, strict=True)), dict(zip(head, second, strict=True))
    assert [one["Accuracy"] for one in rows] == ["75.0 %", "95.0 %"]
    # The fixture's harness counts right answers at odd places: 7 of 20, and 9.
    assert [one["lm-eval strict-match"] for one in rows] == ["35.0 %", "45.0 %"]
    assert [one["Unparsed"] for one in rows] == ["10.0 %", "0.0 %"]
    assert [one["Tokens"] for one in rows] == ["800", "800"]
    assert [one["Cost, USD"] for one in rows] == ["–", "0.0014"]
    assert "By the official rule" not in head  # it says the same as the accuracy
    assert "Cost, USD" not in rows_of(result_columns(benchmark, LINES))[0]


def test_pairs_say_how_sure_and_what_could_be_seen(benchmark):
    head, row = (
        line.strip("| ").split(" | ") for line in pair_table(benchmark, LINES).splitlines() if "---" not in line
    )
    found = dict(zip(head, row, strict=True))
    pair = benchmark.paired["ppo", "sft"]
    assert found["Points"] == "+20.0"
    assert found["p"] == f"{pair.p_value:.3f}"
    assert found["Detectable"] == f"{100 * pair.minimum_detectable_difference:.1f}"
    assert (found["n"], found["Sources"]) == ("20", "10")


def test_models_by_benchmark_have_their_intervals_and_a_dash_where_one_was_not_run(benchmark, item_results):
    other = compare_models("heldout", {"sft": item_results([True] * 10)}, [], 1.0)
    head, rows = rows_of(comparison_columns([benchmark, other], LINES))
    assert head == ["Model", "gsm_plus", "heldout"]
    sft = benchmark.models["sft"]
    # 10 of 10 by Wilson: 1 / (1 + 3.8415 / 10) = 0.722.
    assert rows[0] == ["SFT student", f"75.0 % ({100 * sft.low:.1f} – {100 * sft.high:.1f})", "100.0 % (72.2 – 100.0)"]
    assert rows[1][2] == "–"


def test_the_report_names_what_decontamination_found(finished_run):
    from types import SimpleNamespace

    prompts = {"loaded": 900, "contaminated_kept": 0, "contamination": {"b.jsonl": {"prompts": 12, "whole": 3}}}
    line, other = kept_out(SimpleNamespace(metrics_of={"prompts": prompts}.get, unchecked=["mmlu_pro"]))
    assert other == "Not looked for among the prompts, for want of a file: the questions of mmlu_pro."
    assert line.startswith("12 of 900 prompts share text with a question of b.jsonl (3 of them wholly) and were drop")
    assert kept_out(SimpleNamespace(metrics_of={"prompts": {}}.get, unchecked=[])) == []
    root = finished_run(benchmarks=2)
    run_stage("report", {}, root)
    assert "## Models by benchmark" in (root / "outputs/report/report.md").read_text()
    assert "<h3>Models by benchmark</h3>" in (root / "report.html").read_text()
