"""Profiles: what comes with Retort loads, what is wrong is named, single stages differ from their kind."""

import pytest
from retort_pipelines.profiles import Profile, load_profile, names

from retort.errors import ConfigError


@pytest.mark.parametrize("name", names())
def test_profiles_that_come_with_retort_load(name):
    profile = load_profile(name)
    assert profile.needs("ppo").memory
    assert profile.needs("votes").gpus == 0


def test_a_stage_differs_from_its_kind_only_in_what_is_said():
    profile = Profile.model_validate(
        {"models": {"gpus": 1, "memory": "32Gi", "shm": "8Gi"}, "stages": {"ppo": {"gpus": 4}, "votes": {"cpu": "8"}}}
    )
    assert (profile.needs("ppo").gpus, profile.needs("ppo").memory, profile.needs("ppo").shm) == (4, "32Gi", "8Gi")
    assert (profile.needs("sft").gpus, profile.needs("votes").cpu, profile.needs("votes").gpus) == (1, "8", 0)
    assert profile.needs("collect") == profile.tables


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: {gpus: 99}", "models.gpus: Input should be less than or equal to 16"),
        ("models: {gpuz: 1}", "unknown key 'gpuz'; did you mean"),
        ("models: {memory: lots}", "models.memory"),
        ("stages: {ppoo: {gpus: 1}}", "stages names ppoo; the stages are prompts"),
        ("stages: {ppo: {gpu_count: 1}}", "unknown key 'gpu_count'"),
        ("namespace: Not_A_Name", "namespace"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, words):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_profile(str(file))
    assert words in str(refused.value)
    assert str(file) in str(refused.value)


def test_an_unknown_profile_names_those_that_there_are():
    with pytest.raises(ConfigError, match="use generic, gpu-kueue, kind"):
        load_profile("mars")
