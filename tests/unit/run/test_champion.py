"""The champion: crowned by a paired test or by cost, recorded, versioned by DVC, taken back in one call."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import ConfigError, InputError, StorageError
from retort.io.tables import RESULTS, write_table
from retort.run import champion, dvc_adapter
from retort.run.paths import Paths


@pytest.fixture
def root(tmp_path, monkeypatch):
    dvc_adapter.init(tmp_path, remote=str(tmp_path / "remote"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(item, score, tokens):
    return {
        "item_id": f"item-{item}", "group_id": f"item-{item}", "subtask": "heldout", "question": "", "answer": "1",
        "response": "1", "read": "1", "score": float(score), "correct": score == 1, "official": score == 1,
        "harness": [], "finish_reason": "stop", "prompt_tokens": 0, "response_tokens": tokens,
    }  # fmt: skip


def run(root, name, right, *, size=1000, tokens=10, items=range(200), student="ppo", gain=0.1):
    """A run whose student answers the first `right` of `items`, weighs `size` bytes and says `tokens` an answer.

    `gain` is the lower end of what it gained over its base; None where the base was not evaluated.
    """
    paths = Paths(root / "runs" / name)
    paths.model(student).mkdir(parents=True)
    (paths.model(student) / "model.safetensors").write_bytes(name[:1].encode() * size)
    paths.report.mkdir(parents=True)
    pair = {} if gain is None else {f"{student}_minus_base": {"difference": gain, "low": gain, "high": gain + 0.1}}
    report = {"final_model": student, "base": "base", "benchmark": "heldout", "paired": pair}
    (paths.report / "metrics.json").write_text(json.dumps(report))
    rows = [row(item, number < right, tokens) for number, item in enumerate(items)]
    write_table(paths.results(student, "heldout"), rows, RESULTS)
    return paths.root


def promote(root, name, *arguments, **kinds):
    workspace = run(root, name, *arguments, **kinds)
    decision = champion.judge(root, name, workspace)
    champion.crown(root, decision, workspace)
    return decision


def test_the_first_is_crowned_and_can_be_fetched_by_its_file_alone(root):
    assert promote(root, "a", 100).promoted
    dvc_adapter.push(root)
    model = root / "champion/model/model.safetensors"
    before = model.read_bytes()
    model.unlink()
    dvc_adapter.fetch(root, [champion.FILE])
    assert model.read_bytes() == before
    assert champion.current(root).accuracy == 0.5


def test_a_better_one_replaces_it_and_chance_does_not(root):
    promote(root, "a", 100)
    # 3 of 200 discordant items, all won: McNemar's p = 2 x 0.5^3 = 0.25
    luck = promote(root, "luck", 103)
    assert (luck.promoted, luck.p_value) == (False, 0.25)
    assert "may be chance" in luck.reason
    assert champion.current(root).run == "a"
    # 20 of 20 discordant items won: p = 2 x 0.5^20
    better = promote(root, "better", 120)
    assert (better.promoted, better.against) == (True, "a")
    assert better.p_value == pytest.approx(2 * 0.5**20)
    assert champion.current(root).run == "better"
    assert [one["run"] for one in champion.decisions(root)] == ["a", "luck", "better"]


def test_as_good_and_cheaper_wins_as_good_and_dearer_does_not(root):
    promote(root, "a", 100)
    assert not promote(root, "dear", 100, size=2000).promoted
    cheap = promote(root, "cheap", 100, size=500)
    assert cheap.promoted
    assert "50% cheaper" in cheap.reason
    # 5 of 200 items lost: the interval of the difference reaches below -1 point, however cheap it is.
    assert not promote(root, "worse", 95, size=10).promoted


def test_the_decision_is_taken_back_in_one_call(root):
    promote(root, "a", 100)
    promote(root, "better", 150)
    dvc_adapter.push(root)
    assert champion.roll_back(root).run == "a"
    assert champion.current(root).run == "a"
    assert (root / "champion/model/model.safetensors").read_bytes() == b"a" * 1000
    with pytest.raises(InputError, match="no champion before"):
        champion.roll_back(root)
    # What comes next is compared with the one that is champion again.
    assert promote(root, "next", 130).against == "a"


def test_models_that_answered_other_items_are_not_compared(root):
    promote(root, "a", 100)
    with pytest.raises(InputError, match="answered 50 of this run's 200"):
        champion.judge(root, "b", run(root, "b", 150, items=range(150, 350)))


def test_a_student_of_any_name_can_follow_one_of_another(root):
    promote(root, "a", 100)
    better = promote(root, "round2", 150, student="ppo2")
    assert (better.promoted, better.model, champion.current(root).model) == (True, "ppo2", "ppo2")


def test_a_run_whose_result_it_did_not_make_is_refused_rather_than_called_cheap(root):
    promote(root, "a", 100)
    with pytest.raises(InputError, match="holds no weights"):
        promote(root, "stopped", 100, size=0, student="base")
    assert champion.current(root).run == "a"


def test_the_record_is_a_file_that_dvc_reads(root):
    promote(root, "a", 100)
    value = yaml.safe_load((root / champion.FILE).read_text())
    assert value["outs"][0]["path"] == "champion"
    assert dvc_adapter.status(root) == {}


@pytest.mark.parametrize(("gain", "words"), [(0.0, "not shown to be better than base"), (None, "was not measured")])
def test_what_is_not_better_than_its_base_is_refused_and_leaves_nothing_behind(root, gain, words):
    before = sorted(root.iterdir())
    decision = promote(root, "a", 190, gain=gain)
    assert not decision.promoted
    assert words in decision.reason
    assert sorted(root.iterdir()) == sorted([*before, root / "runs"])
    promote(root, "good", 100)
    assert not promote(root, "b", 190, gain=gain).promoted  # however much better than the champion
    assert champion.current(root).run == "good"
    assert [one["run"] for one in champion.decisions(root)] == ["good", "b"]


def test_a_champion_that_cannot_be_stored_leaves_the_one_before(root, monkeypatch):
    promote(root, "a", 100)

    def everything():
        return {path: path.read_bytes() for path in root.glob("*champion*/**/*") if path.is_file()}

    before, record = everything(), (root / champion.FILE).read_bytes()
    assert before

    def away(*_):
        raise StorageError("the store is away")

    monkeypatch.setattr(dvc_adapter, "store", away)
    with pytest.raises(StorageError, match="away"):
        promote(root, "better", 150)
    assert everything() == before
    assert (root / champion.FILE).read_bytes() == record


def test_a_folder_that_dvc_does_not_know_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="Run `git init` and `dvc init` here"):
        promote(tmp_path, "a", 100)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_run_of_the_folder_itself_can_be_promoted(root):
    """As the demonstration's, which lies in the project's own folder."""
    made = run(root, "own", 100)
    for path in [*made.iterdir()]:
        path.rename(root / path.name)
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    done = CliRunner().invoke(app, ["promote", ".", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["promoted"] is True
    assert champion.current(root).run == root.name
    assert (root / "champion/model/model.safetensors").read_bytes() == b"o" * 1000
