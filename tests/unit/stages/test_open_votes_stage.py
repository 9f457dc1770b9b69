"""Open-ended prompts: a judge elects, and its judgements are the labels of training."""

from __future__ import annotations

import json

import pytest
import yaml

from retort.engines.recorded import RecordedEngine
from retort.errors import ConfigError, InputError
from retort.io.tables import (
    JUDGE_CALLS,
    JUDGEMENTS,
    PROMPTS,
    RESPONSES,
    REWARD_EXAMPLES,
    VOTES,
    read_table,
    write_table,
)
from retort.run.paths import Paths
from retort.run.stage import run_stage
from retort.stages import judging
from retort.trainers.sft.examples import taught_responses, told_responses
from tests.conftest import write_params
from tests.unit.judge.stand_ins import Scripted, grades, prefers, verdict

TEACHER = {"a": ["one", "three", "fifteen"], "b": ["x", "xx", "xx"], "v": ["w", "www"]}
STUDENT = {"a": ["eighteen!", "on", "fifteen"], "b": ["xxx"], "v": ["w", "wwww"]}


def responses(texts, source):
    return [
        {
            "prompt_id": name, "sample": sample, "source": source, "model": "m", "temperature": 1.0, "seed": 0,
            "response": text, "finish_reason": "stop", "prompt_tokens": 0, "response_tokens": 0,
        }
        for name, some in texts.items()
        for sample, text in enumerate(some)
    ]  # fmt: skip


@pytest.fixture
def workspace(tmp_path):
    def make(**judge):
        paths = Paths(tmp_path)
        rows = {
            name: {"prompt_id": name, "prompt": f"Do {name}.", "answer": None, "source": "-", "row": 1}
            for name in "abv"
        }
        write_table(paths.prompts("train"), [rows["a"], rows["b"]], PROMPTS)
        write_table(paths.prompts("validation"), [rows["v"]], PROMPTS)
        write_table(paths.responses("teacher", 0), responses(TEACHER, "teacher"), RESPONSES)
        write_table(paths.responses("sft", 0), responses(STUDENT, "sft"), RESPONSES)
        write_params(
            tmp_path,
            answer="open",
            judge={"model": {"engine": {"type": "recorded", "path": "judgements.parquet"}}, **judge},
            teacher_responses={"shards": [0]},
            student_responses={"shards": [0]},
            reward_data={"balance": False},
        )
        return tmp_path

    with pytest.MonkeyPatch.context() as patch:
        # One held-out prompt would be too few to train a reward by; here none is trained.
        patch.setattr(judging, "check_labels", lambda *_: None)
        yield make


@pytest.fixture
def say(monkeypatch):
    """Puts a stand-in in the place of the judge's engine."""

    def set_judge(function):
        monkeypatch.setattr(judging, "judge_engine", lambda *_, **__: Scripted(function))

    return set_judge


def test_the_judges_choice_is_the_label_and_alone_agrees(workspace, say):
    root = workspace()
    say(prefers(len))
    metrics = run_stage("votes", {}, root)
    votes = {row["prompt_id"]: row for row in read_table(Paths(root).votes, VOTES)}
    assert {name: row["label"] for name, row in votes.items()} == {"a": "fifteen", "b": "xx", "v": "www"}
    judged = {(r["prompt_id"], r["response"]): r["agrees"] for r in read_table(Paths(root).judgements, JUDGEMENTS)}
    assert [name for name, agrees in judged.items() if agrees] == [("a", "fifteen"), ("b", "xx"), ("v", "www")]
    assert (metrics["coverage"], metrics["abstained"], metrics["responses"]) == (1.0, 0, 8)
    # three pairs of a's responses, one of b's and one of v's, in both orders; the judge goes by length alone
    figures = metrics["figures"]
    assert (figures["calls"], figures["pairs"], figures["swayed_share"]) == (10, 5, 0.0)
    assert (figures["first_wins"], figures["longer_wins"], figures["unread_share"]) == (0.5, 1.0, 0.0)


def test_students_are_held_against_the_label(workspace, say):
    root = workspace()
    say(prefers(len))
    run_stage("votes", {}, root)
    metrics = run_stage("reward_data", {"reward": "learned"}, root)
    rows = read_table(Paths(root).reward_data("learned", "train"), REWARD_EXAMPLES)
    student = {row["response"]: row["label"] for row in rows if row["source"] == "sft"}
    assert student == {"eighteen!": 1, "on": 0, "xxx": 1}  # "fifteen" repeats the teacher's
    teacher = {row["response"]: row["label"] for row in rows if row["source"] == "teacher"}
    assert teacher == {"one": 0, "three": 0, "fifteen": 1, "x": 0, "xx": 1}
    assert metrics["undecided"] == 0
    assert metrics["label_accuracy"] is None
    # "fifteen" is the label itself and "w" was judged before: four responses are compared with a label
    assert metrics["judge"]["pairs"] == 4


def test_what_the_judge_does_not_decide_is_left_out(workspace, say):
    root = workspace()
    say(prefers(len))
    run_stage("votes", {}, root)
    say(lambda _, user: verdict(user, "A") if "eighteen!" in user else prefers(len)(_, user))
    metrics = run_stage("reward_data", {"reward": "learned"}, root)
    rows = read_table(Paths(root).reward_data("learned", "train"), REWARD_EXAMPLES)
    assert "eighteen!" not in {row["response"] for row in rows}
    assert (metrics["undecided"], metrics["judge"]["swayed_share"]) == (1, 0.25)


def test_a_rubric_lets_every_good_response_agree(workspace, say):
    root = workspace(method="rubric", threshold=3)
    say(grades(len))
    run_stage("votes", {}, root)
    judged = {(r["prompt_id"], r["response"]): r for r in read_table(Paths(root).judgements, JUDGEMENTS)}
    assert {key for key, row in judged.items() if row["agrees"]} == {
        ("a", "one"),
        ("a", "three"),
        ("a", "fifteen"),
        ("v", "www"),
    }
    votes = {row["prompt_id"]: row for row in read_table(Paths(root).votes, VOTES)}
    assert (votes["b"]["label"], votes["b"]["abstained"]) == (None, True)
    prompts, rows = read_table(Paths(root).prompts("train"), PROMPTS), responses(TEACHER, "teacher")
    agreed = {key: row["agrees"] for key, row in judged.items()}
    examples = taught_responses(
        told_responses(prompts, rows, votes.values(), "open", judged=agreed), max_per_prompt=None, seed=0
    )
    assert [one.response for one in examples] == ["one", "three", "fifteen"]


def test_recorded_judgements_give_the_same_labels(workspace, say, monkeypatch):
    root = workspace()
    say(prefers(len))
    first = run_stage("votes", {}, root)
    calls = read_table(Paths(root).votes.with_name("calls.parquet"), JUDGE_CALLS)
    labels = read_table(Paths(root).votes, VOTES)
    monkeypatch.undo()
    write_table(root / "judgements.parquet", calls, JUDGE_CALLS)
    again = run_stage("votes", {}, root)
    assert read_table(Paths(root).votes, VOTES) == labels
    assert again["figures"]["judge"] == "recorded:judgements.parquet"
    assert again["figures"]["swayed_share"] == first["figures"]["swayed_share"]


def test_judgements_written_by_hand_are_matched_by_what_was_asked(workspace, say, monkeypatch):
    root = workspace(coded=False)
    asked = {}
    say(lambda system, user: asked.setdefault((system, user), "[[A]]") and "[[A]]")
    with pytest.raises(InputError, match=r"elects no response.*0% of its 10 judgements.*100% of pairs change"):
        run_stage("votes", {}, root)
    monkeypatch.undo()
    rows = []
    for system, user in asked:
        talk = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        rows.append({"prompt": json.dumps(talk), "response": "Verdict: " + ("A" if "RESPONSE B" in user else "B")})
    (root / "judgements.parquet").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert RecordedEngine(root / "judgements.parquet", "responses").model == "recorded:judgements.parquet"
    with pytest.raises(InputError, match="100% of pairs change with the order"):
        run_stage("votes", {}, root)


def test_a_file_without_a_verdict_says_so(workspace):
    root = workspace()
    (root / "judgements.parquet").write_text('{"prompt_id": "other", "response": "A"}\n')
    with pytest.raises(
        InputError, match=r"elects no response to any of the 3 prompts.*100% of its 10 judgements do not"
    ):
        run_stage("votes", {}, root)
    assert not Paths(root).votes.exists()


def test_a_judge_that_is_not_there_is_named(workspace):
    root = workspace()
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["judge"]["model"] = {"source": "models/judge"}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ConfigError, match=r"models/judge: no such folder"):
        run_stage("votes", {}, root)


def test_a_model_judges_with_its_chat_template(workspace, tiny_model_folder):
    root = workspace(max_new_tokens=4)
    tiny_model_folder(name="judge")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["judge"]["model"] = {"source": "judge"}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    # its context of 256 tokens is too short for the judge's instructions, and the error says which call
    with pytest.raises(InputError, match=r"prompt '[abv]/pair-[0-9a-f]{12}' has \d+ tokens"):
        run_stage("votes", {}, root)
