"""The `models` stage: references to the teacher and the student, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest

from retort.errors import ConfigError, ModelError, StorageError
from retort.modeling.loading import load_model, load_tokenizer, read_reference
from retort.run.stage import run_stage
from tests.conftest import write_params

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path, tiny_model_folder):
    """Runs the stage in a workspace with a local student `models/student`; the teacher is given."""
    student = tiny_model_folder(name="models/student")

    def run(teacher, *, student_more=None):
        write_params(tmp_path, models={"teacher": teacher, "base": {"source": "models/student"} | (student_more or {})})
        return run_stage("models", {}, tmp_path)

    run.root, run.student = tmp_path, student
    return run


def test_local_models_are_named_by_their_path_in_the_workspace_and_their_content(run, tiny_model_folder):
    tiny_model_folder("qwen2", name="models/teacher")
    metrics = run({"source": "models/teacher"})
    teacher = read_reference(run.root / "outputs/models/teacher")
    assert (teacher.model, teacher.revision, len(teacher.content)) == ("models/teacher", None, 64)
    assert str(run.root) not in (run.root / "outputs/models/teacher/reference.json").read_text()
    assert metrics["same_vocabulary"] == {"base": True}
    assert load_model(run.root / "outputs/models/teacher").config.model_type == "qwen2"
    assert load_model(run.root / "outputs/models/base").config.model_type == "llama"
    assert load_tokenizer(run.root / "outputs/models/base").pad_token == "<|pad|>"


def test_other_weights_are_another_reference(run, tiny_model):
    before = run({"source": "models/student"})
    tiny_model(seed=1).save_pretrained(run.student)
    after = run({"source": "models/student"})
    assert before["models"]["base"]["content"] != after["models"]["base"]["content"]
    assert before["models"]["base"]["vocabulary"] == after["models"]["base"]["vocabulary"]


def test_a_black_box_teacher_is_recorded_by_what_it_answers_as(run):
    metrics = run({"engine": {"type": "openai", "base_url": "http://x/v1", "model": "big", "concurrency": 5}})
    reference = read_reference(run.root / "outputs/models/teacher")
    assert reference.model == "openai:big"
    # Which model answers is recorded; the address and the key, which another run may change, are nowhere.
    assert "http://x/v1" not in (run.root / "outputs/models/teacher/reference.json").read_text()
    assert metrics["models"]["teacher"] == {
        "model": "openai:big",
        "revision": None,
        "content": None,
        "vocabulary": None,
        "license": None,
        "chat_template": (),
    }
    assert metrics["same_vocabulary"] == {"base": False}
    run({"engine": {"type": "recorded", "path": "data/answers.jsonl"}})
    assert read_reference(run.root / "outputs/models/teacher").model == "recorded:data/answers.jsonl"


def test_a_commit_is_taken_as_it_is_without_asking_the_hub(run, monkeypatch):
    import retort.stages.models as stage

    assert stage._pinned("some-org/some-model", SHA) == SHA


def test_a_hub_model_without_connection_says_what_to_do(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        StorageError, match=r"some-org/some-model: no such folder, and the hub cannot be reached.*folder"
    ):
        run({"source": "some-org/some-model"})


def test_a_path_that_does_not_exist_is_no_hub_model(run):
    with pytest.raises(ConfigError, match=r"models/no/such: no such folder"):
        run({"source": "models/no/such"})


def test_pickled_weights_are_refused_with_the_remedy(run):
    (run.student / "model.safetensors").unlink()
    (run.student / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pytorch_model.bin: pickled weights.*save_pretrained"):
        run({"engine": {"type": "recorded", "path": "x"}})
    assert not (run.root / "outputs/models").exists()


@pytest.fixture
def edit(run):
    def edit(**changes):
        file = run.student / "tokenizer_config.json"
        values = json.loads(file.read_text())
        for key, value in changes.items():
            values.pop(key, None) if value is None else values.update({key: value})
        file.write_text(json.dumps(values))
        if "chat_template" in changes:
            (run.student / "chat_template.jinja").unlink(missing_ok=True)

    return edit


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pad_token": None}, r"field 'pad_token': there is none\. Set `pad_token`"),
        ({"pad_token": "<|end|>"}, r"field 'pad_token': it equals EOS.*Set `pad_token`"),
        ({"eos_token": None}, r"field 'eos_token': there is none"),
        ({"chat_template": None}, r"field 'chat_template': there is none\. Set `chat_template`"),
    ],
)
def test_a_student_tokenizer_that_cannot_be_trained_with_is_refused(run, edit, changes, words):
    edit(**changes)
    with pytest.raises(ModelError, match=words):
        run({"engine": {"type": "recorded", "path": "x"}})


def test_the_configuration_mends_a_tokenizer(run, edit):
    edit(pad_token="<|end|>", chat_template=None)
    (run.root / "chat.jinja").write_text("{{ messages[0]['content'] }}")
    run(
        {"engine": {"type": "recorded", "path": "x"}},
        student_more={"pad_token": "<|system|>", "chat_template": "chat.jinja"},
    )
    tokenizer = load_tokenizer(run.root / "outputs/models/base")
    assert tokenizer.pad_token == "<|system|>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_a_pad_token_outside_the_vocabulary_is_refused(run):
    with pytest.raises(ModelError, match=r"pad_token '<nope>' is not in its vocabulary"):
        run({"engine": {"type": "recorded", "path": "x"}}, student_more={"pad_token": "<nope>"})


def test_a_teacher_that_only_generates_may_pad_with_eos(run, edit, tmp_path):
    shutil.copytree(run.student, tmp_path / "models/teacher")
    edit_file = tmp_path / "models/teacher/tokenizer_config.json"
    values = json.loads(edit_file.read_text())
    edit_file.write_text(json.dumps(values | {"pad_token": "<|end|>"}))
    run({"source": "models/teacher"})
    assert load_tokenizer(tmp_path / "outputs/models/teacher", training=False).pad_token == "<|end|>"


def test_two_runs_write_the_same_bytes(run):
    files = [run.root / f"outputs/models/{name}/reference.json" for name in ("teacher", "base")]
    teacher = {"source": "models/student"}
    run(teacher)
    first = [file.read_bytes() for file in files]
    run(teacher)
    assert [file.read_bytes() for file in files] == first


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(run, tiny_tokenizer):
    import copy

    larger = copy.deepcopy(tiny_tokenizer)
    larger.add_tokens(["<|new|>"])
    larger.save_pretrained(run.student)
    with pytest.raises(ModelError, match=r"models/student: its tokenizer has a token with id 320, its model only 320"):
        run({"engine": {"type": "recorded", "path": "x"}})


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gpt2"])
def test_a_tokenizer_is_loaded_as_it_was_saved_whatever_the_architecture(
    tiny_model_folder, tiny_tokenizer, architecture
):
    loaded = load_tokenizer(tiny_model_folder(architecture))
    assert loaded.get_vocab() == tiny_tokenizer.get_vocab()
    text = "Natalia sold 48/2 = <<48/2=24>>24 clips\n\n#### 1024"
    assert loaded(text).input_ids == tiny_tokenizer(text).input_ids
