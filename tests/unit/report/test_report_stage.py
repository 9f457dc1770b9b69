"""The stage as a whole: what it writes, that it writes the same twice, and what it leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from retort.errors import InputError
from retort.io.files import content_hash, write_json
from retort.run.paths import Paths
from retort.run.stage import run_stage

Make = Callable[..., Path]
VOID = {"meta", "br", "hr", "img", "link", "input"}


def read_metrics(root: Path) -> dict:
    return json.loads((root / "outputs/report/metrics.json").read_text())


def test_metrics_hold_accuracy_and_paired_differences(finished_run: Make) -> None:
    root = finished_run()
    result = run_stage("report", {}, root)
    metrics = read_metrics(root)
    # teacher 14/20, base 0/20, sft 15/20, ppo 18/20; on the same items ppo - sft = (18 - 15) / 20
    accuracies = {name: score["accuracy"] for name, score in metrics["models"].items()}
    assert accuracies == {"teacher": 0.7, "base": 0.0, "sft": 0.75, "ppo": 0.9}
    pair = metrics["paired"]["ppo_minus_sft"]
    assert pair["difference"] == pytest.approx(0.15)
    assert pair["low"] < 0.15 < pair["high"]
    assert pair["n"] == 20
    assert metrics["paired"]["ppo_minus_teacher"]["difference"] == pytest.approx(0.2)
    assert metrics["models"]["base"]["unparsed_rate"] == pytest.approx(1 / 20)
    assert result["models"] == metrics["models"]


def test_outputs_are_the_same_bytes_whatever_the_wall_times(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    first, page = content_hash(root / "outputs/report"), (root / "report.html").read_text()
    write_json(Paths(root).timing("ppo-ppo"), {"task": "ppo-ppo", "seconds": 123.0})
    run_stage("report", {}, root)
    assert content_hash(root / "outputs/report") == first
    assert "2 min 03 s" not in page
    assert "2 min 03 s" in (root / "report.html").read_text()


def test_outputs_name_no_place_or_time_of_this_machine(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    for file in (root / "outputs/report").iterdir():
        text = file.read_text()
        assert str(root) not in text
        assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_failed_gate_is_said_at_the_top_and_the_sft_student_is_the_result(finished_run: Make) -> None:
    root = finished_run(shut=["learned"])
    assert run_stage("report", {}, root)["final_model"] == "sft"
    page = (root / "report.html").read_text()
    assert page.index("did not pass its gate. PPO was skipped") < page.index('<section id="results"')
    assert page.index("AUC 0.600 on held-out prompts is below min_auc 0.75") < page.index('<section id="results"')
    assert "PPO student" not in page
    card = (root / "outputs/report/model_card.md").read_text()
    assert "PPO was skipped, and the SFT student is this run’s result." in card
    assert "PPO improves on SFT: held" not in (root / "outputs/report/report.md").read_text()


def test_page_is_well_formed_and_loads_nothing(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    page = (root / "report.html").read_text()
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list) -> None:
            open_tags.extend([tag] if tag not in VOID else [])
            named = dict(attrs)
            assert "src" not in named
            assert tag not in {"script", "link", "img", "iframe"}
            assert named.get("href", "#").startswith("#")

        def handle_startendtag(self, tag: str, attrs: list) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert open_tags == []
    assert "url(" not in page
    assert "@import" not in page
    ids = set(re.findall(r'id="(\w+)"', page))
    assert set(re.findall(r'href="#(\w+)"', page)) == ids


def test_text_from_data_is_escaped(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    page = (root / "report.html").read_text()
    assert "A run &lt;made&gt; by hand" in page
    assert "&lt;b&gt;2+2&lt;/b&gt;=5" in page
    assert "What is 2 &amp; 2?" in page
    assert "<b>2+2" not in page


def test_samples_show_what_ppo_mended_and_what_it_broke(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    page = (root / "report.html").read_text()
    # sft right on items 0-14, ppo right on items 1-18: mended 15-18 (4), broke 0 (1), 14 both right, 1 both wrong
    assert "PPO mended 4 that the SFT student got wrong and broke 1" in page
    assert "14 stayed right and 1 stayed wrong" in page
    assert page.count('class="sample"') == 2


def test_models_that_were_not_evaluated_are_left_out(finished_run: Make) -> None:
    root = finished_run({"ppo": [True] * 20})
    run_stage("report", {}, root)
    assert read_metrics(root)["paired"] == {}
    page = (root / "report.html").read_text()
    assert "Teacher" not in page.partition('id="method"')[0]
    assert 'class="sample"' not in page


def test_run_without_gold_answers_claims_no_label_accuracy(finished_run: Make) -> None:
    root = finished_run(gold=False)
    run_stage("report", {}, root)
    labels = read_metrics(root)["labels"]
    assert labels["accuracy"] is None
    assert labels["at_coverage"] == []
    page = (root / "report.html").read_text()
    assert "Accuracy at coverage" not in page
    assert "against the truth" not in page


def test_first_benchmark_is_the_primary_one_and_all_are_kept(finished_run: Make) -> None:
    root = finished_run(benchmarks=2)
    run_stage("report", {}, root)
    metrics = read_metrics(root)
    assert metrics["benchmark"] == "bench0"
    assert set(metrics["benchmarks"]) == {"bench0", "bench1"}
    assert metrics["benchmarks"]["bench0"]["models"] == metrics["models"]
    assert "<h3>bench1</h3>" in (root / "report.html").read_text()


def test_missing_results_name_the_file_and_leave_the_old_report(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    before = content_hash(root / "outputs/report")
    Paths(root).results("sft", "bench0").unlink()
    with pytest.raises(InputError, match=r"sft-bench0\.parquet"):
        run_stage("report", {}, root)
    assert content_hash(root / "outputs/report") == before


def test_broken_metrics_file_is_named(finished_run: Make) -> None:
    root = finished_run()
    Paths(root).metrics("votes").write_text("{")
    with pytest.raises(InputError, match=r"votes\.json: is not JSON"):
        run_stage("report", {}, root)


def test_card_front_matter_names_base_model_and_accuracy(finished_run: Make) -> None:
    root = finished_run()
    run_stage("report", {}, root)
    card = (root / "outputs/report/model_card.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "acme/base"
    (metric,) = front["model-index"][0]["results"][0]["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", 0.9)
    # Wilson for 18 of 20: 0.699 to 0.972
    assert metric["name"] == "accuracy, 95 % interval 0.6990 to 0.9721, n = 20"
    assert "(revision tttttttttttt)" in card


def test_ppo_that_never_agreed_better_than_sft_is_said_to_have_changed_nothing(finished_run: Make) -> None:
    root = finished_run()
    write_json(Paths(root).metrics("ppo-ppo"), {"best_iteration": 0, "iterations": 30})
    run_stage("report", {}, root)
    assert "None of its 30 iterations agreed better" in (root / "outputs/report/report.md").read_text()
