"""Entries of models, students and rewards: what they mean together, and refusals that name file and key."""

import copy

import pytest
import yaml

from retort.config import load_config
from retort.errors import ConfigError

BASE = {
    "models": {"teacher": {"source": "hub/teacher"}, "base": {"source": "hub/student"}},
    "prompts": {"sources": [{"path": "data/prompts.jsonl"}]},
}
ROUNDS = {
    "students": {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned", "iterations": 7},
        "sft_more": {"method": "sft", "from": "base", "compute_of": "ppo"},
        "ppo2": {"method": "ppo", "from": "ppo", "reward": "learned2"},
    },
    "rewards": {
        "learned": {"type": "model"},
        "learned2": {"type": "model", "trunk": "ppo", "likelihood": ["ppo"], "responses": ["teacher", "sft", "ppo"]},
        "vote": {"type": "vote"},
    },
}


def load(folder, values, name="run.yaml"):
    (folder / name).write_text(yaml.safe_dump(BASE | values, sort_keys=False))
    return load_config(folder / name)


def test_left_out_the_students_are_those_of_the_paper(tmp_path):
    config = load(tmp_path, {})
    assert {name: (entry.method, entry.from_) for name, entry in config.students.items()} == {
        "sft": ("sft", "base"),
        "ppo": ("ppo", "sft"),
    }
    assert (config.reward_of("sft"), config.reward_of("ppo")) == (None, "learned")
    assert config.final_student() == "ppo"
    assert config.comparisons()[:3] == [("ppo", "base"), ("ppo", "sft"), ("ppo", "teacher")]


def test_a_run_without_rl_has_no_reward(tmp_path):
    config = load(tmp_path, {"students": {"sft": {"method": "sft", "from": "base"}}})
    assert config.rewards == {}
    assert config.learned_rewards() == config.sampled_students() == []


def test_entries_override_their_methods_section(tmp_path):
    config = load(tmp_path, ROUNDS | {"ppo": {"iterations": 3, "clip": 0.1}})
    assert (config.settings("ppo").iterations, config.settings("ppo2").iterations) == (7, 3)
    assert config.settings("ppo").clip == config.settings("ppo2").clip == 0.1


def test_a_second_round_reads_the_first_ones_responses(tmp_path):
    config = load(tmp_path, ROUNDS)
    assert config.sampled_students() == ["sft", "ppo"]
    assert list(config.lineage("ppo2")) == ["ppo", "sft", "base"]
    assert config.final_student() == "ppo2"
    assert ("ppo2", "ppo") in config.comparisons()


def change(path, value):
    values = copy.deepcopy(ROUNDS)
    *folders, last = path.split(".")
    place = values
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("students.ppo.method", "pqo", r"students.ppo.method: unknown method 'pqo'; did you mean 'ppo'"),
        ("students.ppo.reward", "lerned", r"students.ppo.reward: unknown reward 'lerned'; did you mean 'learned'"),
        ("students.ppo.from", "stf", r"students.ppo.from: unknown model or student 'stf'; did you mean 'sft'"),
        ("students.ppo.iteratons", 3, r"students.ppo: unknown key 'iteratons'; did you mean 'iterations'"),
        ("students.ppo.iterations", 0, r"students.ppo.iterations: Input should be greater than or equal to 1"),
        ("students.sft.reward", "vote", r"students.sft.reward: the method sft is trained without a reward"),
        ("students.ppo.from", "ppo", r"students.ppo.from: students.ppo cannot be made from itself"),
        ("students.sft.from", "ppo2", r"made before itself .*students.sft.from names students.ppo2"),
        ("students.sft_more.compute_of", "sft_more", r"students.sft_more.compute_of: .* cannot be made from itself"),
        ("students.sft_more.compute_of", "pp", r"students.sft_more.compute_of: unknown student 'pp'"),
        ("rewards.learned.responses", ["teacher", "ppo"], r"rewards.learned.responses names students.ppo"),
        ("rewards.learned.trunk", "ppo2", r"rewards.learned.trunk names students.ppo2"),
        ("rewards.learned.type", "modell", r"rewards.learned.type: unknown reward 'modell'; did you mean 'model'"),
        ("rewards.learned.trunc", "sft", r"rewards.learned: unknown key 'trunc'; did you mean 'trunk'"),
        ("rewards.learned.responses", ["teacher", "base"], r"rewards.learned.responses: unknown student 'base'"),
        ("rewards.ppo", {"type": "vote"}, r"rewards.ppo: students.ppo would write the same paths"),
        ("students.Ppo", {"method": "sft", "from": "base"}, r"students.Ppo: a name is lower-case"),
        ("students.base", {"method": "sft", "from": "base"}, r"students.base: models.base would write the same paths"),
        ("result", "pppo", r"result: unknown student 'pppo'; did you mean 'ppo'"),
        ("compare", [["ppo", "stf"]], r"compare: unknown model or student 'stf'; did you mean 'sft'"),
        ("evaluate", {"models": ["ppo3"]}, r"evaluate.models: unknown model or student 'ppo3'"),
        ("pqo", {"iterations": 3}, r"unknown key 'pqo'; did you mean 'ppo'"),
        ("evaluate", {"benchmarks": [{"name": "a"}, {"name": "a"}]}, r"two are called 'a' and would write one path"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_key(tmp_path, path, value, words):
    with pytest.raises(ConfigError, match=rf"(?s)run\.yaml.*{words}"):
        load(tmp_path, change(path, value))


def test_with_several_rewards_a_student_says_which(tmp_path):
    values = copy.deepcopy(ROUNDS)
    del values["students"]["ppo"]["reward"]
    with pytest.raises(ConfigError, match=r"students.ppo.reward: say which of rewards .*\(learned, learned2, vote\)"):
        load(tmp_path, values)


def test_a_student_cannot_start_from_a_model_without_weights(tmp_path):
    models = BASE["models"] | {"base": {"engine": {"type": "openai", "base_url": "http://x/v1", "model": "m"}}}
    with pytest.raises(ConfigError, match=r"students.sft.from: base is behind the engine openai"):
        load(tmp_path, {"models": models})


def test_an_entry_that_a_layer_takes_out_is_no_entry(tmp_path):
    load(tmp_path, ROUNDS)
    config = load_config(tmp_path / "run.yaml", changes=["students.ppo2=null", "rewards.learned2=null"])
    assert list(config.students) == ["sft", "ppo", "sft_more"]


def test_recorded_responses_answer_nothing_new(tmp_path):
    models = BASE["models"] | {"teacher": {"engine": {"type": "recorded", "path": "r.jsonl"}}}
    config = load(tmp_path, {"models": models})
    assert config.evaluated() == ["base", "sft", "ppo"]
    with pytest.raises(ConfigError, match="is a file of recorded responses"):
        load(tmp_path, {"models": models, "evaluate": {"models": ["teacher"]}})


FREE = {"prompts": {"sources": [{"path": "p.jsonl"}, {"path": "u.jsonl", "use": "unlabelled"}]}}


def test_rl_trains_on_unlabelled_prompts_unless_its_reward_needs_labels(tmp_path):
    rl = {"method": "ppo", "from": "sft"}
    students = ROUNDS["students"] | {"by_vote": rl | {"reward": "vote"}}
    config = load(tmp_path, ROUNDS | FREE | {"students": students})
    found = {name: config.trains_on_unlabelled(name) for name in config.students}
    assert found == {"sft": False, "ppo": True, "sft_more": False, "ppo2": True, "by_vote": False}
    assert not load(tmp_path, ROUNDS).trains_on_unlabelled("ppo")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"prompts": {"sources": [{"path": "u.jsonl", "use": "unlabelled"}]}},
            "all are for unlabelled, so the teacher would answer no training prompt.*use: train",
        ),
        (
            {"prompts": {"sources": [{"path": "p.jsonl"}], "unlabelled": 10}},
            "prompts: unlabelled: takes training prompts beyond limit, but no limit is set.*set limit",
        ),
        (
            FREE | {"students": {"sft": {"method": "sft", "from": "base"}}},
            "some are unlabelled, but no student trains on them.*leave out prompts.unlabelled",
        ),
        (
            FREE
            | {
                "students": {
                    "sft": {"method": "sft", "from": "base"},
                    "ppo": {"method": "ppo", "from": "sft", "reward": "vote"},
                },
                "rewards": {"vote": {"type": "vote"}},
            },
            "no student trains on them: .*a reward that needs no label",
        ),
    ],
)
def test_unlabelled_prompts_that_serve_nobody_are_refused_with_the_remedy(tmp_path, values, problem):
    with pytest.raises(ConfigError, match=problem):
        load(tmp_path, values)
