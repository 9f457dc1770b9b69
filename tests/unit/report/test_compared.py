"""Models of several runs and seeds side by side, with what they cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from retort.cli.app import main
from retort.errors import ConfigError, InputError
from retort.evaluation.statistics import mean_interval, paired_difference
from retort.io.tables import RESULTS, write_table
from retort.report.compared import compare_runs, lines, write_plot
from retort.report.html import escape
from retort.run.paths import Paths
from retort.run.stage import run_stage

N = 40
SHARES = {
    0: {"base": 8, "sft": 20, "more": 20, "ppo": 34, "teacher": 26},
    1: {"base": 8, "sft": 24, "more": 25, "ppo": 36, "teacher": 26},
}
STUDENTS = {
    "sft": {"method": "sft", "from": "base"},
    "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
    "more": {"method": "sft", "from": "base", "compute_of": "ppo", "label": "SFT, equal compute"},
}


def answers(seed):
    return {model: [place < right for place in range(N)] for model, right in SHARES[seed].items()}


@pytest.fixture
def run(finished_run, tmp_path):
    """`run("a", 1, samples=4)`: a finished run of seed 1 in the folder `a`."""

    def make(name, seed, *, right=None, shut=(), **responses):
        settings = {"seed": seed, "students": STUDENTS, "teacher_responses": responses}
        made = finished_run(right or answers(seed), settings=settings, shut=shut)
        (made / "dvc.yaml").write_text("stages: {}\n")
        return made.rename(tmp_path / name)

    return make


@pytest.fixture
def seeds(run):
    return [run("a", 0), run("b", 1)]


def test_seeds_of_one_configuration_are_one_arm_whose_items_are_counted_once(seeds):
    found = compare_runs(seeds)
    assert [(arm.name, [one.config.seed for one in arm.runs]) for arm in found.arms] == [("a", [0, 1])]
    (side,) = found.sides
    ppo = next(one for one in side.standings if one.model == "ppo")
    assert (ppo.accuracy, ppo.by_seed, ppo.n) == (pytest.approx(70 / 80), {0: 34 / 40, 1: 36 / 40}, 40)
    scores = [float(right) for seed in (0, 1) for right in answers(seed)["ppo"]]
    assert (ppo.low, ppo.high) == mean_interval(scores, [*range(N)] * 2)
    # As if every answer were an item of its own, the interval would be too narrow.
    assert ppo.high - ppo.low > 1.2 * (mean_interval(scores)[1] - mean_interval(scores)[0])


def test_differences_pair_each_seed_with_itself(seeds):
    (side,) = compare_runs(seeds, ["ppo:sft"]).sides
    (pair,) = side.pairs
    assert pair.difference == pytest.approx((14 + 12) / 80)
    assert {seed: one[0] for seed, one in pair.by_seed.items()} == {
        0: pytest.approx(14 / 40),
        1: pytest.approx(12 / 40),
    }
    a, b = ([float(right) for seed in (0, 1) for right in answers(seed)[model]] for model in ("ppo", "sft"))
    expected = paired_difference(a, b, [*range(N)] * 2)
    assert (pair.low, pair.high) == (expected.low, expected.high)


def test_cost_is_that_of_everything_that_a_model_was_made_from_and_no_more(seeds):
    spent = {one.model: one.spent for one in compare_runs(seeds).sides[0].standings}
    assert (spent["base"], spent["teacher"]) == (None, None)
    shards = len(list((seeds[0] / "metrics").glob("teacher_responses-*.json")))
    assert spent["sft"].teacher_tokens == spent["ppo"].teacher_tokens == 400 * shards
    student_shards = len(list((seeds[0] / "metrics").glob("student_responses-*.json")))
    assert spent["sft"].flops == 2e9
    assert spent["ppo"].flops == 2e9 + 1e9 * student_shards + 3e9
    assert spent["more"].flops == 2e9  # it reads how much PPO took, not what PPO made


def test_wall_time_is_said_where_every_task_has_one(seeds):
    assert all(one.spent is None or one.spent.seconds is None for one in compare_runs(seeds).sides[0].standings)
    for root in seeds:
        for file in (root / "metrics").glob("*.json"):
            timing = Paths(root).timing(file.stem)
            timing.parent.mkdir(parents=True, exist_ok=True)
            timing.write_text(json.dumps({"task": file.stem, "seconds": 2.0}))
    spent = {one.model: one.spent for one in compare_runs(seeds).sides[0].standings}
    assert spent["ppo"].seconds > spent["sft"].seconds > 0


def test_advice_names_what_is_better_than_all_that_is_cheaper(seeds):
    (text,) = (line for line in compare_runs(seeds).advice["bench0"] if line.startswith("By compute"))
    assert text.index("Base student (20.0 %) from 0") < text.index("SFT, equal compute (56.2 %)") < text.index("PPO")
    assert text.endswith("Not clearly better than what costs no more: SFT student.")


def test_noise_sells_nothing(run):
    nearly = answers(0) | {"ppo": [place < 22 for place in range(N)]}
    found = compare_runs([run("a", 0, right=nearly)])
    text = found.advice["bench0"][0]
    assert "then PPO" not in text
    assert "PPO student" in text.rpartition("Not clearly better")[2]


def test_other_settings_are_another_arm_and_their_models_are_called_by_their_run(run):
    found = compare_runs([run("few", 0), run("many", 0, samples=16)], ["many/ppo:few/ppo"])
    assert [arm.name for arm in found.arms] == ["few", "many"]
    assert [(pair.first, pair.second) for pair in found.sides[0].pairs] == [(("many", "ppo"), ("few", "ppo"))]
    assert any(line.startswith("many/ppo") for line in lines(found))
    with pytest.raises(ConfigError, match=r"'ppo' does not say of which run\. Write few/ppo"):
        compare_runs([found.arms[0].runs[0].root, found.arms[1].runs[0].root], ["ppo:few/sft"])


def test_runs_of_one_name_in_two_folders_are_told_apart_by_their_paths(run, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    roots = [run("here/demo", 0), run("there/demo", 0, samples=16)]
    assert [arm.name for arm in compare_runs(roots).arms] == [str(root) for root in roots]
    assert len(compare_runs(roots, [f"{roots[1]}/ppo:{roots[0]}/sft"]).sides[0].pairs) == 1


def test_arms_without_a_seed_in_common_do_not_pair(run, tmp_path):
    roots = [run("few0", 0), run("few1", 1), run("many", 0, samples=16)]
    assert compare_runs(roots, ["many/ppo:few0/ppo"]).sides[0].pairs[0].by_seed.keys() == {0}
    other = run("many1", 1, samples=16)
    (tmp_path / "many1/params.yaml").write_text((other / "params.yaml").read_text().replace("seed: 1", "seed: 7"))
    third = run("many2", 1, samples=16)
    (third / "params.yaml").write_text((third / "params.yaml").read_text().replace("seed: 1", "seed: 8"))
    with pytest.raises(ConfigError, match="no seed in common"):
        compare_runs([roots[0], roots[1], other, third], ["many1/ppo:few0/ppo"])


def test_a_student_that_a_gate_stopped_has_no_figures_and_is_said(run):
    found = compare_runs([run("a", 0, shut=["learned"]), run("b", 1)])
    ppo = next(one for one in found.sides[0].standings if one.model == "ppo")
    assert list(ppo.by_seed) == [1]
    assert any("a: ppo was not trained: rewards.learned: AUC 0.600" in line for line in lines(found))
    both = compare_runs([found.arms[0].runs[0].root], ["ppo:sft"])
    assert both.sides[0].pairs == []


def test_runs_that_cannot_be_compared_are_refused(run, tmp_path):
    one = run("a", 0)
    with pytest.raises(InputError, match=r"says what .*a/params.yaml says, the seed \(0\) too"):
        compare_runs([one, run("again", 0)])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"nothing/params.yaml: does not exist, so this is no run"):
        compare_runs([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match=r"unknown model 'pop'.*ppo"):
        compare_runs([one], ["pop:sft"])
    with pytest.raises(ConfigError, match="'ppo' is not FIRST:SECOND"):
        compare_runs([one], ["ppo"])
    rows = [row | {"item_id": f"x{place}"} for place, row in enumerate(results(one))]
    write_table(Paths(one).results("sft", "bench0"), rows, RESULTS)
    with pytest.raises(InputError, match=r"sft-bench0.parquet, field 'item_id': shares 0 of its 40 items"):
        compare_runs([one], ["ppo:sft"])


def results(root):
    from retort.io.tables import read_table

    return read_table(Paths(root).results("sft", "bench0"), RESULTS)


def test_runs_of_different_code_are_said(seeds):
    (seeds[0] / "code.yaml").write_text("votes: one\nppo-ppo: same\n")
    (seeds[1] / "code.yaml").write_text("votes: other\nppo-ppo: same\n")
    assert compare_runs(seeds).notices == [
        "The runs of a were made by different code (votes), so their seeds are not all that differs."
    ]


def test_the_plot_stands_alone(seeds, tmp_path):
    write_plot(tmp_path / "plot.svg", compare_runs(seeds))
    text = "".join(ElementTree.parse(tmp_path / "plot.svg").getroot().itertext())  # noqa: S314 - our own file
    assert "PPO student" in text
    assert "SFT, equal compute" in text
    assert "Teacher" not in text


def test_the_command(seeds, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["retort", "compare", *map(str, seeds), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert [one["model"] for one in found["benchmarks"]["bench0"]["models"]] == [
        "base",
        "sft",
        "more",
        "ppo",
        "teacher",
    ]
    assert {one["second"][1] for one in found["benchmarks"]["bench0"]["paired"]} >= {"sft", "teacher", "base", "more"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "outputs/evaluate/ppo-bench0.parquet"], "give two tables of results, or runs"),
        (["a", "b", "c.parquet"], "give two tables of results, or runs"),
        (["a", "bb"], "unknown run 'bb'; did you mean 'b'?"),
        (["x.parquet", "y.parquet", "--pair", "a:b"], "give two tables of results, or runs"),
    ],
)
def test_what_it_cannot_compare_is_said(seeds, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(seeds[0].parent)
    Path("runs").mkdir()
    for one in seeds:
        one.rename(Path("runs") / one.name)
    monkeypatch.setattr(sys, "argv", ["retort", "compare", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 64
    assert words in capsys.readouterr().err


def test_runs_are_known_by_name_as_elsewhere(seeds, monkeypatch, capsys):
    monkeypatch.chdir(seeds[0].parent)
    Path("runs").mkdir()
    for one in seeds:
        one.rename(Path("runs") / one.name)
    monkeypatch.setattr(sys, "argv", ["retort", "compare", "a", "b"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "runs of 2 seeds (0, 1)" in capsys.readouterr().out


def test_the_page_shows_accuracy_against_compute_and_what_to_take(run):
    root = run("a", 0)
    run_stage("report", {}, root)
    page = (root / "report.html").read_text()
    assert page.index('<section id="cost"') < page.index("Accuracy against compute") < page.index('<section id="made"')
    (sentence,) = [one for one in compare_runs([root]).advice["bench0"] if one.startswith("By compute")]
    assert sentence.startswith("By compute: Base student (20.0 %) from 0 FLOPs, then")
    assert escape(sentence) in page
