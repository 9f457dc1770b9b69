"""The report of graphs other than the default: a method of one's own, a second round, equal compute, SFT alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retort.io.files import content_hash, write_json
from retort.report.prices import read_prices
from retort.report.terminal import result_lines
from retort.run.paths import Paths
from retort.run.stage import run_stage

Make = Callable[..., Path]

PLUGIN = '''
"""A method of the user's own: learns from pairs of responses."""
from retort.config.base import Strict
from retort.plugins import Method


class Settings(Strict):
    beta: float = 0.1


SUMMARY = "Prefer the response that agrees with the vote."
METHOD = Method("dpo", Settings, train=print, summary=SUMMARY, curves=("margin",))
'''

FIVE: dict[str, Any] = {
    "students": {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
        "more_sft": {"method": "sft", "from": "base", "compute_of": "ppo", "max_extra_steps": 7},
        "dpo": {"method": "dpo.py:METHOD", "from": "sft"},
        "ppo2": {"method": "ppo", "from": "ppo", "reward": "second"},
    },
    "rewards": {
        "learned": {"type": "model"},
        "second": {"type": "model", "trunk": "ppo", "likelihood": ["teacher", "ppo"], "responses": ["teacher", "ppo"]},
    },
    "result": "ppo2",
}

RIGHT = {"teacher": 14, "base": 2, "sft": 12, "ppo": 16, "more_sft": 13, "dpo": 15, "ppo2": 20}


def shares(**right: int) -> dict[str, list[bool]]:
    """The first so many of 20 items right."""
    return {name: [place < number for place in range(20)] for name, number in right.items()}


@pytest.fixture
def five(finished_run: Make, tmp_path: Path) -> Make:
    """A finished run of five students; the arguments are those of `finished_run`."""

    def make(*, settings: dict[str, Any] | None = None, plugin: str = PLUGIN, **options: Any) -> Path:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/dpo.py").write_text(plugin)
        models = shares(**RIGHT)
        return finished_run(models, settings=FIVE | (settings or {}), **options)

    return make


def report(root: Path) -> tuple[dict[str, Any], str, str]:
    """Content of metrics.json, report.md and the page."""
    run_stage("report", {}, root)
    folder = root / "outputs/report"
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics, (folder / "report.md").read_text(), (root / "report.html").read_text()


def test_models_pairs_and_the_result_are_those_of_the_configuration(five: Make) -> None:
    metrics, text, page = report(five())
    assert metrics["order"] == ["teacher", "base", "sft", "ppo", "more_sft", "dpo", "ppo2"]
    assert metrics["final_model"] == "ppo2"
    assert [key for key, _ in metrics["comparisons"]][:3] == ["ppo2_minus_base", "ppo2_minus_ppo", "ppo2_minus_teacher"]
    assert metrics["paired"]["ppo2_minus_more_sft"]["difference"] == pytest.approx(7 / 20)
    assert metrics["paired"]["dpo_minus_teacher"]["difference"] == pytest.approx(1 / 20)
    assert metrics["names"]["more_sft"] == "more sft student"
    assert metrics["skipped"] == {}
    assert metrics["notices"] == []
    assert text.splitlines()[2] == (
        "The ppo2 student answers 100.0 % of 20 held-out items right; the base student 10.0 %, the PPO student 80.0 % "
        "and the teacher 70.0 %. ppo2 improved on PPO, and the student passed its teacher."
    )
    assert "more sft student" in page
    assert "Responses before and after ppo2" in page


def test_every_student_and_reward_says_how_it_was_made(five: Make) -> None:
    _, text, page = report(five())
    assert "The base student was fine-tuned on the teacher's responses that agree with the vote (SFT)." in text
    assert "with the compute of PPO as well (more sft). The compute of PPO gave it 7 more steps." in text
    assert "DPO student: DPO from the SFT student. Prefer the response that agrees with the vote." in text
    assert "PPO refined the SFT student against the reward model “learned”, held close" in text
    assert "ppo2 refined the PPO student against the reward model “second”, held close to the PPO student" in text
    assert text.index("PPO refined") < text.index("The reward model “second” learned") < text.index("ppo2 refined")
    assert '<section id="reward_learned"><h2>Reward model “learned”</h2>' in page
    assert '<section id="reward_second"><h2>Reward model “second”</h2>' in page
    assert "The gate passed: ppo2 was trained against it." in page
    assert 'aria-label="DPO student: Margin by iteration"' in page
    assert page.count(">AUC while training</h3>") == 2


def test_a_baseline_that_reached_its_bound_is_said_to_have_had_less_compute(five: Make) -> None:
    metrics = {"sft-more_sft": {"steps": 9, "extra_steps": 7, "capped": True, "tokens": 5, "flops": 1.0}}
    compare = [["ppo", "more_sft"], ["ppo2", "ppo"]]
    _, text, _ = report(five(settings={"compare": compare}, metrics=metrics))
    assert "gave it 7 more steps, all that max_extra_steps lets it have, which is less than that compute." in text
    assert "PPO is worth more than its compute spent on SFT: " in text
    assert "The more sft student reached its max_extra_steps, so it was given less than that compute." in text


def test_only_wanted_comparisons_are_shown_and_the_result_with_its_base_always(five: Make) -> None:
    metrics, text, _ = report(five(settings={"compare": [["dpo", "sft"]]}))
    assert sorted(metrics["paired"]) == ["dpo_minus_sft", "ppo2_minus_base"]
    assert "- DPO improves on SFT: " in text
    assert "- The student is better than the base student: held" in text


def test_a_shut_gate_stops_its_student_alone_and_what_came_before_is_the_result(five: Make) -> None:
    metrics, text, page = report(five(shut=["second"]))
    assert metrics["final_model"] == "ppo"
    assert metrics["gate_passed"] is False
    assert metrics["skipped"] == {"ppo2": ["rewards.second: AUC 0.600 on held-out prompts is below min_auc 0.75"]}
    assert metrics["gate_reasons"] == metrics["skipped"]["ppo2"]
    assert {name: one["gate_passed"] for name, one in metrics["rewards"].items()} == {"learned": True, "second": False}
    # The folder of a skipped student holds another one: no figure is given under its name.
    assert "ppo2" not in metrics["models"]
    assert not [key for key in metrics["paired"] if "ppo2" in key]
    keys = [key for key, _ in metrics["comparisons"]]
    assert keys[:4] == ["ppo_minus_base", "ppo_minus_sft", "ppo_minus_teacher", "ppo_minus_more_sft"]
    assert "PPO is worth more than its compute spent on SFT: " in text
    words = (
        "The reward model “second” did not pass its gate. ppo2 was skipped, and the PPO student is this run’s result."
    )
    assert words in text
    assert words in page.partition("<nav>")[0]
    assert words in result_lines(metrics)
    assert "Responses before and after PPO" in page


def test_gates_shut_all_the_way_down_leave_the_first_student(five: Make) -> None:
    metrics, text, _ = report(five(shut=["learned", "second"]))
    assert metrics["final_model"] == "sft"
    assert len(metrics["gate_reasons"]) == 2
    assert text.splitlines()[2].startswith("The SFT student answers 60.0 % of 20")


def test_a_student_that_went_on_where_another_was_skipped_is_compared_with_what_it_really_started_from(
    five: Make,
) -> None:
    metrics, text, page = report(five(shut=["learned"]))
    assert (metrics["final_model"], metrics["gate_passed"]) == ("ppo2", False)
    assert "ppo2_minus_sft" in metrics["paired"]
    assert "ppo2 refined the SFT student against the reward model “second”" in text
    assert "ppo2 student is this run’s result" not in text
    assert "ppo2 mended" in page


def test_sft_alone_has_no_reward_and_no_gate(finished_run: Make) -> None:
    students = {"sft": {"method": "sft", "from": "base"}}
    root = finished_run(shares(teacher=14, base=2, sft=15), settings={"students": students})
    metrics, text, page = report(root)
    assert (metrics["final_model"], metrics["gate_passed"]) == ("sft", None)
    assert (metrics["rewards"], metrics["reliability"], metrics["gate_reasons"]) == ({}, {}, [])
    assert list(metrics["paired"]) == ["sft_minus_base", "sft_minus_teacher"]
    assert "SFT improved on the base student" in text.splitlines()[2]
    assert "- SFT improves on the base student: held" in text
    for word in ("eward", "PPO", "gate"):
        assert word not in text
        assert word not in page.partition("<main>")[2]
    assert "Responses before and after SFT" in page
    assert "and its rewards" not in (root / "outputs/report/model_card.md").read_text()


@pytest.mark.parametrize(
    ("base", "words"),
    [(19, "The result is worse than the base student"), (16, "The result cannot be shown to be better than the base")],
)
def test_a_result_that_is_no_better_than_its_base_is_said_first(finished_run: Make, base: int, words: str) -> None:
    metrics, text, page = report(
        finished_run(shares(teacher=14, base=base, sft=10, ppo=base - 7 if base == 19 else 15))
    )
    assert words in text.splitlines()[2]
    assert words in page.partition('<div class="banner">')[2].partition("</div>")[0]
    assert any(words in line for line in result_lines(metrics))
    assert any(words in line for line in metrics["notices"])


def test_a_base_that_was_not_evaluated_leaves_it_open_whether_anything_was_gained(finished_run: Make) -> None:
    _, text, _ = report(finished_run(shares(sft=10, ppo=15)))
    assert "Whether it is better than the base student is not known: that was not evaluated." in text


def test_a_reward_that_is_not_learned_has_no_section_but_its_name(finished_run: Make) -> None:
    students = {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "vote", "label": "Voted"},
    }
    settings = {"students": students, "rewards": {"vote": {"type": "vote"}}}
    metrics, text, page = report(finished_run(shares(teacher=14, base=2, sft=10, ppo=15), settings=settings))
    assert (metrics["gate_passed"], metrics["rewards"]) == (None, {})
    assert "Voted refined the SFT student against the reward “vote”, held close" in text
    assert "Voted follows the reward “vote”; whether" in page
    assert 'id="reward' not in page
    assert metrics["names"]["ppo"] == "Voted"


def test_a_method_that_names_no_curves_has_all_of_its_drawn(five: Make) -> None:
    root = five(plugin=PLUGIN.replace(', curves=("margin",)', ""))
    folder = root / "curves/dpo/plots/metrics/train"
    folder.mkdir(parents=True)
    (folder / "chosen_share.tsv").write_text("step\tchosen_share\n1\t0.5\n2\t0.7\n")
    _, _, page = report(root)
    assert "<h3>Train: chosen share</h3>" in page


def test_money_is_on_the_page_and_in_the_table_and_in_nothing_that_is_versioned(finished_run: Make) -> None:
    engine = {"type": "openai", "base_url": "http://localhost/v1", "model": "m"}
    students = {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned", "engine": engine},
    }
    root = finished_run(settings={"students": students})
    metrics, _, page = report(root)
    assert '"cost"' not in json.dumps(metrics)
    assert "Price, " not in page
    before = content_hash(root / "outputs/report")
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("prompt_cost: 0.0", "prompt_cost: 1.0"))
    _, text, page = report(root)
    assert content_hash(root / "outputs/report") == before
    # 20 items of 30 prompt tokens in the table of results; 100 prompt tokens by the metrics of the evaluation.
    for found in ("Cost, USD</th>", "<td>0.0006</td>", "Price, USD</th>", "<td>0.0001</td>"):
        assert found in page.replace(' class="left"', "")
    (line,) = (line for line in result_lines(metrics, read_prices(params)) if line.startswith("PPO student  "))
    assert line.split()[-1] == "0.0006"
    assert "0.0006" not in text


def test_unlabelled_prompts_are_told_with_what_they_spared_the_teacher(finished_run: Make) -> None:
    root = finished_run(shares(teacher=14, base=2, sft=10, ppo=15))
    before = report(root)[1]
    for task, more in (("prompts", {"unlabelled": 5000}), ("ppo-ppo", {"episodes": 1400, "unlabelled_episodes": 1234})):
        file = Paths(root).metrics(task)
        write_json(file, json.loads(file.read_text()) | more)
    shards = len(list(file.parent.glob("teacher_responses-*.json")))
    text = report(root)[1]
    # Eight training and two validation prompts took 400 tokens a shard: 5,000 others would have taken 500 times that.
    spared = f"{200_000 * shards:,}"
    assert "It was not asked about 5,000 more prompts, which cost nothing of it" in text
    assert f"answers to those would have taken about {spared} tokens more." in text
    assert "The teacher had never answered the prompts of 1,234 of its 1,400 episodes." in text
    assert "not asked" not in before
    assert "never answered" not in before
