"""Profiles: what comes with Retort loads, what is wrong is named, single stages differ from their kind."""

from decimal import Decimal

import pytest
from retort_pipelines.profiles import Profile, load_profile, names
from retort_pipelines.profiles.quantities import quantity

from retort.errors import ConfigError
from retort.run.known_stages import known_stages


def needs(profile, stage):
    """What the pods of a stage ask for, by its name."""
    return profile.needs(known_stages()[stage])


@pytest.mark.parametrize("name", names())
def test_profiles_that_come_with_retort_load(name):
    profile = load_profile(name)
    assert needs(profile, "ppo").memory
    assert needs(profile, "votes").gpus == 0


def test_a_stage_differs_from_its_kind_only_in_what_is_said():
    profile = Profile.model_validate(
        {"models": {"gpus": 1, "memory": "32Gi", "shm": "8Gi"}, "stages": {"ppo": {"gpus": 4}, "votes": {"cpu": "8"}}}
    )
    assert (
        needs(profile, "ppo").gpus,
        needs(profile, "ppo").memory,
        needs(profile, "ppo").shm,
    ) == (4, "32Gi", "8Gi")
    assert (
        needs(profile, "sft").gpus,
        needs(profile, "votes").cpu,
        needs(profile, "votes").gpus,
    ) == (1, "8", 0)
    assert needs(profile, "report") == profile.tables


@pytest.fixture
def loaded(tmp_path):
    """Read a profile from text."""
    file = tmp_path / "p.yaml"

    def load(text):
        file.write_text(text)
        return load_profile(str(file))

    return load


@pytest.mark.parametrize(
    ("text", "cores"), [("1", "1"), ("0.5", "0.5"), ("'4'", "4"), ("500m", "500m"), ("16", "16"), (".5", "0.5")]
)
def test_cores_may_be_written_as_yaml_writes_numbers(loaded, text, cores):
    profile = loaded(f"models: {{cpu: {text}}}\nstages: {{ppo: {{cpu: {text}}}}}")
    assert (profile.models.cpu, needs(profile, "ppo").cpu) == (cores, cores)


@pytest.mark.parametrize("text", ["512Mi", "32Gi", "1Ti", "2G", "34359738368"])
def test_memory_is_a_whole_number_with_a_unit_or_of_bytes(loaded, text):
    assert loaded(f"models: {{memory: {text}}}").models.memory == text


IMAGES = ["retort/train:dev", "r.io:5000/a/b@sha256:" + "0" * 64, "train", "localhost/x:1", "ghcr.io/A".lower()]


@pytest.mark.parametrize("image", IMAGES)
def test_names_of_images_as_registries_have_them(loaded, image):
    assert loaded(f"images: {{train: '{image}', generate: '{image}'}}").images.generate == image


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: {gpus: 99}", "models.gpus: Input should be less than or equal to 16"),
        ("models: {gpuz: 1}", "unknown key 'gpuz'; did you mean"),
        ("models: {memory: lots}", "models.memory"),
        ("models: {memory: 3m}", "models.memory: Value error, '3m' is no amount of memory"),
        ("models: {memory: 32}", "models.memory: Value error, '32' is 32 bytes. Write its unit"),
        ("models: {memory: 1.5Gi}", "models.memory: Value error, '1.5Gi' is no amount of memory. Write a whole number"),
        ("models: {memory: -1Gi}", "models.memory"),
        ("models: {shm: 64m}", "models.shm"),
        ("models: {scratch: 100}", "models.scratch: Value error, '100' is 100 bytes"),
        ("models: {cpu: 100Gi}", "models.cpu: Value error, '100Gi' is no number of cores. Write 4, 0.5 or 500m"),
        ("models: {cpu: 0}", "models.cpu"),
        ("models: {cpu: 0.5m}", "models.cpu"),
        ("models: {cpu: -2}", "models.cpu"),
        ("models: {cpu: true}", "models.cpu"),
        ("models: {cpu: .inf}", "models.cpu"),
        ("stages: {ppo: {cpu: many}}", "stages.ppo.cpu"),
        ("tables: {memory: 2GB}", "tables.memory"),
        ("models: {gpu: nvidia}", "models.gpu"),
        ("models: {node_selector: {pool: a b}}", "models.node_selector.pool"),
        ("models: {queue: My Queue}", "models.queue"),
        ("models: {tolerations: [{key: a, operator: Equal}]}", "give value with operator Equal"),
        ("models: {tolerations: [{key: a, value: b}]}", "none with Exists"),
        ("stages: {ppoo: {gpus: 1}}", "stages names ppoo; the stages are prompts"),
        ("stages: {ppo: {gpu_count: 1}}", "unknown key 'gpu_count'"),
        ("namespace: Not_A_Name", "namespace"),
        ("service_account: Not_A_Name", "service_account"),
        (
            "images: {train: docker.io/retort/Train:dev}",
            "images.train: Value error, 'docker.io/retort/Train:dev'",
        ),
        ("images: {train: 'train:'}", "images.train"),
        ("images: {generate: 'https://r.io/x'}", "images.generate"),
        ("images: {train: 'a b'}", "images.train"),
        ("images: {train: ''}", "images.train"),
        ("images: {train: 'x@sha256:12'}", "images.train"),
        ("images: {pull_secrets: [A_B]}", "images.pull_secrets.0"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, loaded, text, words):
    with pytest.raises(ConfigError) as refused:
        loaded(text)
    assert words in str(refused.value)
    assert str(tmp_path / "p.yaml") in str(refused.value)


def test_an_unknown_profile_names_those_that_there_are():
    with pytest.raises(ConfigError, match="use generic, gpu-kueue, kind"):
        load_profile("mars")


def test_quantities():
    # 1 Gi = 2^30; 1.5 k = 1500; 250 m = 1/4; 1e3 as Kubernetes may write 1000
    assert [quantity(text) for text in ("1Gi", "1.5k", "250m", "7", "2M", "1e3")] == [
        Decimal(2**30), Decimal(1500), Decimal("0.25"), Decimal(7), Decimal(2_000_000), Decimal(1000),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="nonsense"):
        quantity("nonsense")
