"""Reading configurations: overlays, changes, refusals that help."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from retort.config import RetortConfig, load_config, load_keys, resolved
from retort.config.load import pick
from retort.errors import ConfigError

BASE = {
    "models": {"teacher": {"source": "hub/teacher"}, "base": {"source": "hub/student"}},
    "prompts": {"sources": [{"path": "data/prompts.jsonl"}]},
}


def write(folder: Path, name: str, values: object) -> Path:
    (folder / name).write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / name


def test_an_unknown_key_is_refused_with_the_nearest_known_name(tmp_path):
    file = write(tmp_path, "a.yaml", BASE | {"ppo": {"iteration": 3}})
    with pytest.raises(
        ConfigError, match=r"a.yaml: 1 problem\(s\)\n  ppo: unknown key 'iteration'; did you mean 'iterations'"
    ):
        load_config(file)


def test_naming_one_key_of_a_section_changes_no_other(tmp_path):
    """A section's default is its class's, or one `--set` in a section that a file lacks would change its neighbours."""
    file = write(tmp_path, "a.yaml", BASE)
    without = load_config(file)
    told = 0
    for name, field in RetortConfig.model_fields.items():
        if isinstance(field.default, BaseModel):
            told += 1
            assert getattr(load_config(file, changes=[f"{name}={{}}"]), name) == getattr(without, name), name
    assert told == 7
    changed = load_config(file, changes=["student_responses.samples=3"])
    assert changed.student_responses == without.student_responses.model_copy(update={"samples": 3})


def test_overlays_merge_sections_key_by_key(tmp_path):
    base = write(tmp_path, "a.yaml", BASE | {"ppo": {"iterations": 3, "clip": 0.1}})
    overlay = write(tmp_path, "b.yaml", {"ppo": {"iterations": 5}})
    config = load_config(base, overlay)
    assert (config.ppo.iterations, config.ppo.clip) == (5, 0.1)


def test_extends_names_a_file_beside(tmp_path):
    write(tmp_path, "a.yaml", BASE | {"seed": 3})
    assert load_config(write(tmp_path, "b.yaml", {"extends": "a.yaml", "answer": "text"})).seed == 3


def test_another_engine_of_a_model_replaces_the_whole_entry(tmp_path):
    base = write(tmp_path, "a.yaml", BASE)
    overlay = write(tmp_path, "b.yaml", {"models": {"teacher": {"engine": {"type": "recorded", "path": "r.jsonl"}}}})
    teacher = load_config(base, overlay).models["teacher"]
    assert (teacher.engine.path, teacher.source) == ("r.jsonl", None)


def test_another_engine_for_the_same_weights_keeps_the_entry(tmp_path):
    models = {"teacher": {"source": "a", "dtype": "bfloat16"}, "base": {"source": "hub/student"}}
    students = {"sft": {"method": "sft", "from": "base"}}
    base = write(tmp_path, "a.yaml", BASE | {"models": models, "students": students})
    changes = ["models.teacher.engine={type: vllm, concurrency: 8}", "students.sft.engine.type=auto"]
    config = load_config(base, changes=changes)
    teacher = config.models["teacher"]
    assert (teacher.source, teacher.dtype, teacher.engine.type) == ("a", "bfloat16", "vllm")
    assert (config.students["sft"].from_, config.students["sft"].engine.type) == ("base", "auto")
    # The settings of one engine mean nothing in another.
    again = load_config(base, changes=[*changes, "models.teacher.engine={type: transformers}"])
    assert (again.models["teacher"].source, again.models["teacher"].engine.type) == ("a", "transformers")


def test_another_source_of_a_model_keeps_its_engine(tmp_path):
    base = write(tmp_path, "a.yaml", BASE | {"models": {"teacher": {"source": "a", "engine": {"type": "vllm"}}}})
    overlay = write(tmp_path, "b.yaml", {"models": {"teacher": {"source": "b"}, "base": {"source": "hub/student"}}})
    teacher = load_config(base, overlay).models["teacher"]
    assert (teacher.source, teacher.engine.type) == ("b", "vllm")


def test_changes_are_laid_over_everything(tmp_path):
    config = load_config(write(tmp_path, "a.yaml", BASE), changes=["ppo.iterations=7", "evaluate.models=[sft, ppo]"])
    assert config.ppo.iterations == 7
    assert config.evaluate.models == ["sft", "ppo"]


@pytest.mark.parametrize("change", ["ppo.iterations", "=3", "ppo=[", "ppo.iteratons=3"])
def test_a_change_that_changes_nothing_is_refused(tmp_path, change):
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, "a.yaml", BASE), changes=[change])


def test_a_black_box_teacher_has_no_weights_to_start_from(tmp_path):
    teacher = {"engine": {"type": "openai", "base_url": "http://x/v1", "model": "m"}}
    models = BASE["models"] | {"teacher": teacher}
    file = write(tmp_path, "a.yaml", BASE | {"models": models, "reward": {"trunk": "teacher"}})
    with pytest.raises(ConfigError, match=r"rewards.learned.trunk: asks for the weights of teacher, .* engine openai"):
        load_config(file)


def test_shards_count_from_zero(tmp_path):
    with pytest.raises(ConfigError, match="shards must be"):
        load_config(write(tmp_path, "a.yaml", BASE), changes=["teacher_responses.shards=[1, 2]"])


def test_a_stage_sees_only_what_it_declares(tmp_path):
    config = load_keys(write(tmp_path, "a.yaml", BASE | {"seed": 5}), ["seed", "teacher_responses.shards"])
    assert config.seed == 5
    assert config.teacher_responses.shards == [0]
    with pytest.raises(AttributeError):
        _ = config.ppo


def test_pick_takes_sections_and_single_keys():
    values = {"a": {"x": 1, "y": 2}, "b": 3, "c": 4}
    assert pick(values, ["a.x", "b"]) == {"a": {"x": 1}, "b": 3}


def test_a_resolved_configuration_loads_to_itself(tmp_path):
    config = load_config(write(tmp_path, "a.yaml", BASE))
    assert load_config(write(tmp_path, "b.yaml", resolved(config))) == config


@pytest.mark.parametrize("text", ["- a list\n", "a: [\n", None])
def test_what_is_no_configuration_is_refused_by_name(tmp_path, text):
    file = tmp_path / "a.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises((ConfigError, Exception), match=r"a\.yaml"):
        load_config(file)


def models(kind, seen):
    for field in kind.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
                seen.add(part)
                models(part, seen)
    return seen


def test_every_field_says_what_it_means():
    for kind in models(RetortConfig, {RetortConfig}):
        for name, field in kind.model_fields.items():
            assert field.description or name in ("type", "base_url"), f"{kind.__name__}.{name}"


@pytest.mark.parametrize(
    "file", [file for file in sorted(Path("configs").rglob("*.yaml")) if file.name != "begin.yaml"], ids=str
)  # begin.yaml says what `retort init` writes beside a configuration
def test_every_shipped_configuration_loads(file):
    load_config(file)


def test_a_file_that_a_run_is_tested_on_must_be_kept_out_of_training(tmp_path):
    benchmark = {"name": "gsm8k", "task": "gsm8k", "data": {"test": "data/test.jsonl", "train": "data/train.jsonl"}}
    values = BASE | {"evaluate": {"benchmarks": [benchmark]}}
    with pytest.raises(ConfigError, match=r"is tested on data/test.jsonl, which prompts.decontaminate does not name"):
        load_config(write(tmp_path, "a.yaml", values))
    prompts = BASE["prompts"] | {"decontaminate": ["data/test.jsonl"]}  # examples come from questions to train on
    assert load_config(write(tmp_path, "b.yaml", values | {"prompts": prompts})).evaluate.benchmarks[0].name == "gsm8k"
