import pytest
import yaml

from retort.errors import InputError
from retort.paths import Paths
from retort.stages.context import run_stage
from retort.tables import PROMPTS, RESPONSES, VOTES, read_table, write_table


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
        write_table(paths.responses("teacher_responses", shard), rows, RESPONSES)
    params = {"answer": "number", "votes": votes, "teacher_responses": {"shards": list(range(len(shards)))}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return paths


def test_labels_metrics_and_prompts_without_responses(tmp_path):
    train = [prompt("a", "7"), prompt("b", "9"), prompt("c"), prompt("d", "1")]
    first = [response("a", "#### 7", temperature=0.5), response("a", "#### 7.0"), response("a", "#### 8")]
    second = [response("b", "#### 8"), response("b", "nothing"), response("c", "#### 3", temperature=-1)]
    paths = workspace(tmp_path, train, [prompt("v", "2")], [first, [*second, response("v", "#### 2")]])
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
    assert metrics["sample_accuracy_by"] == {"0.5": 1.0, "1": 2 / 5}


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
