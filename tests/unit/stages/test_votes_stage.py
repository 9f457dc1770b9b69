import random

import pytest
import yaml

from retort.errors import ConfigError, InputError
from retort.io.tables import PROMPTS, RESPONSES, VOTES, read_table, write_table
from retort.rewards.learned.halves import held_out_part
from retort.run.paths import Paths
from retort.run.stage import run_stage
from tests.conftest import write_params


def prompt(name, answer=None):
    return {"prompt_id": name, "prompt": f"text of {name}", "answer": answer, "source": "p.jsonl", "row": 1}


def response(name, text, sample=0, temperature=1.0, source="teacher", finish="stop"):
    return {
        "prompt_id": name, "sample": sample, "source": source, "model": "m", "temperature": temperature, "seed": 0,
        "response": text, "finish_reason": finish, "prompt_tokens": 0, "response_tokens": 0,
    }  # fmt: skip


def workspace(root, train, validation, shards, **votes):
    paths = Paths(root)
    write_table(paths.prompts("train"), train, PROMPTS)
    write_table(paths.prompts("validation"), validation, PROMPTS)
    for shard, rows in enumerate(shards):
        write_table(paths.responses("teacher", shard), rows, RESPONSES)
    # No reward is learned: a single held-out prompt is enough.
    write_params(root, votes=votes, teacher_responses={"shards": list(range(len(shards)))})
    params = yaml.safe_load((root / "params.yaml").read_text())
    alone = {"students": {"sft": params["students"]["sft"]}, "rewards": {}, "compare": None, "result": "sft"}
    (root / "params.yaml").write_text(yaml.safe_dump(params | alone))
    return paths


def test_labels_metrics_and_prompts_without_responses(tmp_path):
    train = [prompt("a", "7"), prompt("b", "9"), prompt("c"), prompt("d", "1")]
    first = [response("a", "#### 7", temperature=0.5), response("a", "#### 7.0"), response("a", "#### 8")]
    second = [response("b", "#### 8"), response("b", "nothing"), response("c", "#### 3", temperature=-1)]
    paths = workspace(tmp_path, train, [prompt("v", "2")], [first, [*second, response("v", "#### 2")]])
    for shard in range(2):
        run_stage("ballots", {"shard": str(shard)}, tmp_path)
    metrics = run_stage("votes", {}, tmp_path)
    rows = {row["prompt_id"]: row for row in read_table(paths.votes, VOTES)}
    assert list(rows) == ["a", "b", "c", "d", "v"]
    assert (rows["a"]["label"], rows["a"]["votes"], rows["a"]["total"], rows["a"]["correct"]) == ("7", 2, 3, True)
    assert (rows["b"]["label"], rows["b"]["share"], rows["b"]["correct"]) == ("8", 0.5, False)
    assert (rows["c"]["label"], rows["c"]["correct"]) == ("3", None)
    assert (rows["d"]["label"], rows["d"]["total"], rows["d"]["abstained"]) == (None, 0, True)
    # labels with gold: a right, b wrong, v right
    assert (metrics["coverage"], metrics["accuracy"], metrics["known"]) == (4 / 5, 2 / 3, 3)
    assert (metrics["prompts_without_responses"], metrics["abstained"], metrics["responses"]) == (1, 1, 7)
    assert metrics["unparsed_share"] == pytest.approx(1 / 7)
    # responses with gold: a 2 of 3 (one of them at 0.5), b 0 of 2, v 1 of 1
    assert metrics["sample_accuracy"] == 3 / 6
    assert metrics["sample_accuracy_by_temperature"] == {"0.5": 1.0, "1": 2 / 5}
    assert metrics["sample_accuracy_by_model"] == {"m": 3 / 6}


def test_all_prompts_abstaining_is_an_error_that_says_what_to_do(tmp_path):
    workspace(
        tmp_path,
        [prompt("a")],
        [prompt("v")],
        [[response("a", "well"), response("v", "#### 1"), response("v", "#### 2")]],
    )
    with pytest.raises(InputError, match=r"abstains on all 2 prompts.*read in 2 of 3 responses.*Check that `answer`"):
        run_stage("votes", {}, tmp_path)
    assert not Paths(tmp_path).votes.exists()


def learned_workspace(root, labelled):
    """Twenty held-out prompts with a learned reward in the run; those of `labelled` have a majority."""
    held_out = [prompt(f"v{number}") for number in range(20)]
    rows = [response("a", "#### 7")]
    for one in held_out:
        name = one["prompt_id"]
        second = "#### 1" if name in labelled else "#### 2"
        rows += [response(name, "#### 1"), response(name, second, sample=1)]
    paths = Paths(root)
    write_table(paths.prompts("train"), [prompt("a")], PROMPTS)
    write_table(paths.prompts("validation"), held_out, PROMPTS)
    write_table(paths.responses("teacher", 0), rows, RESPONSES)
    write_params(root, teacher_responses={"shards": [0]})
    return paths


def test_labels_that_a_learned_reward_could_not_be_trained_with_are_refused_before_anything_is(tmp_path, caplog):
    halves = {half: [f"v{n}" for n in range(20) if held_out_part(f"v{n}") == half] for half in ("select", "gate")}
    paths = learned_workspace(tmp_path, halves["gate"])
    with pytest.raises(
        InputError, match=r"to choose the step by, none has a label.*rewards.learned.*prompts.validation"
    ):
        run_stage("votes", {}, tmp_path)
    assert not paths.votes.exists()
    learned_workspace(tmp_path, halves["select"])
    with pytest.raises(InputError, match="to measure the gate on, none has a label"):
        run_stage("votes", {}, tmp_path)
    learned_workspace(tmp_path, [*halves["select"], halves["gate"][0]])
    run_stage("votes", {}, tmp_path)
    assert "only 1 of the" in caplog.text


def test_no_response_at_all_is_an_error(tmp_path):
    workspace(tmp_path, [prompt("a")], [prompt("v")], [[]])
    with pytest.raises(InputError, match="holds no response to any of the 2 prompts"):
        run_stage("votes", {}, tmp_path)


def test_response_to_an_unknown_prompt_is_named(tmp_path):
    workspace(tmp_path, [prompt("a")], [prompt("v")], [[response("a", "#### 1"), response("other", "#### 1")]])
    with pytest.raises(InputError, match=r"row 2, field 'prompt_id': 'other' is no train or validation prompt"):
        run_stage("votes", {}, tmp_path)


def test_least_share_makes_votes_abstain(tmp_path):
    answers = [response("a", "#### 7"), response("a", "#### 7"), response("a", "#### 8"), response("v", "#### 1")]
    workspace(tmp_path, [prompt("a")], [prompt("v")], [answers], min_share=0.7)
    assert run_stage("votes", {}, tmp_path)["abstained"] == 1


def test_recorded_responses_are_told_apart_by_model_not_by_an_unknown_temperature(tmp_path):
    rows = [
        {**response("v", "#### 2", temperature=-1, sample=place), "model": model}
        for place, model in enumerate(("x", "x", "y"))
    ]
    workspace(tmp_path, [], [prompt("v", "2")], [rows])
    metrics = run_stage("votes", {}, tmp_path)
    assert metrics["sample_accuracy_by_model"] == {"x": 1.0, "y": 1.0}
    assert metrics["sample_accuracy_by_temperature"] == {}


def test_votes_weighed_by_log_probability(tmp_path):
    answers = [("#### 7", -0.1), ("#### 8", -2.0), ("#### 8", -2.0)]
    rows = [{**response("v", text, sample=place), "mean_logprob": value} for place, (text, value) in enumerate(answers)]
    paths = workspace(tmp_path, [], [prompt("v", "7")], [rows], weights="logprob")
    run_stage("votes", {}, tmp_path)
    (row,) = read_table(paths.votes, VOTES)
    # exp(-0.1) = 0.905 against 2 exp(-2) = 0.271
    assert (row["label"], row["votes"]) == ("7", 1)
    assert row["share"] == pytest.approx(0.9048 / (0.9048 + 0.2707), abs=1e-4)


def test_a_missing_log_probability_names_its_row(tmp_path):
    rows = [{**response("v", "#### 2"), "mean_logprob": -1.0}, response("v", "#### 2", sample=1)]
    workspace(tmp_path, [], [prompt("v")], [rows], weights="logprob")
    with pytest.raises(InputError, match=r"shard-0.parquet, row 2, field 'mean_logprob': is not known"):
        run_stage("votes", {}, tmp_path)


def test_a_model_without_a_weight_is_named(tmp_path):
    workspace(tmp_path, [], [prompt("v")], [[response("v", "#### 2")]], weights="source", source_weights={"x": 1})
    with pytest.raises(ConfigError, match=r"source_weights: m answered too"):
        run_stage("votes", {}, tmp_path)


def test_confidence_is_learned_from_held_out_responses(tmp_path):
    rows = [response("a", f"#### {answer}", sample=place) for place, answer in enumerate("7778")]
    paths = workspace(tmp_path, [prompt("a")], [prompt("v")], [rows])
    run_stage("votes", {}, tmp_path)
    first, second = read_table(paths.votes, VOTES)
    # Holding out a 7 leaves 7 7 8 (share 2/3, margin 1/3), holding out the 8 leaves 7 7 7: 3 of 3 agree, then 0 of 1,
    # pooled to 3/4
    assert first["confidence"] == pytest.approx(0.75)
    assert second["confidence"] is None


@pytest.mark.parametrize(
    "votes",
    [{}, {"weights": "source"}, {"weights": "logprob", "confidence": "gold"}],
    ids=["equal", "source", "logprob"],
)
def test_votes_over_shards_are_those_over_the_whole(tmp_path, votes):
    rng = random.Random(3)
    prompts = [prompt(f"p{number}", None if number % 7 == 0 else str(number % 5)) for number in range(90)]
    answers = [[] for _ in prompts]
    for number, rows in enumerate(answers):
        for sample in range(0 if number == 11 else 7):
            gold = number % 5 if rng.random() < 0.6 else rng.randrange(5)
            text = rng.choice([f"#### {gold}", f"The answer is {gold}.0", "no idea", f"#### {gold}%"])
            finish = rng.choice(["stop", "stop", "length", "not_recorded", "content_filter"])
            row = response(f"p{number}", text, sample, temperature=rng.choice([0.5, 1.0, -1.0]), finish=finish)
            rows.append({**row, "model": rng.choice("xy"), "mean_logprob": -rng.random()})
    whole = tmp_path / "whole"
    one = workspace(whole, prompts[:80], prompts[80:], [[row for rows in answers for row in rows]], **votes)
    single = run_stage("votes", {}, whole)
    parted = tmp_path / "parted"
    shards = [[row for rows in answers[shard::3] for row in rows] for shard in range(3)]
    three = workspace(parted, prompts[:80], prompts[80:], shards, **votes)
    for shard in range(3):
        run_stage("ballots", {"shard": str(shard)}, parted)
    assert run_stage("votes", {}, parted) == single
    assert three.votes.read_bytes() == one.votes.read_bytes()
    assert single["not_whole"]
    assert single["source_weights"] or votes.get("weights") != "source"


def test_a_prompt_that_two_shards_answer_is_named(tmp_path):
    workspace(tmp_path, [prompt("a")], [prompt("v")], [[response("a", "#### 1")], [response("a", "#### 1")]])
    for shard in range(2):
        run_stage("ballots", {"shard": str(shard)}, tmp_path)
    with pytest.raises(InputError, match=r"shard-1.parquet, field 'prompt_id': 'a' is answered in an earlier shard"):
        run_stage("votes", {}, tmp_path)
