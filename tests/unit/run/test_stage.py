"""Resume state is kept for the same task and removed, with a line that says why, for another one."""

from __future__ import annotations

import shutil

import pytest
import yaml

from retort.errors import InputError
from retort.run import stage as stages
from retort.run.stage import context_of


@pytest.fixture
def task(training_root):
    """`task()`: a learned reward of one workspace, as its configuration is now."""
    root = training_root()

    def make():
        return context_of("reward", {"reward": "learned"}, root)

    return make


def change(task, **changes):
    file = task().paths.root / "params.yaml"
    values = yaml.safe_load(file.read_text())
    values["reward"] |= changes
    file.write_text(yaml.safe_dump(values))


def test_state_of_the_same_task_is_kept_without_a_word(task, caplog):
    (task().state() / "step-1.pt").write_text("x")
    assert (task().state() / "step-1.pt").exists()
    assert caplog.messages == []


def test_state_of_other_parameters_names_those_that_differ(task, caplog):
    (task().state() / "step-1.pt").write_text("x")
    change(task, steps=60, lora={"rank": 4})
    assert not (task().state() / "step-1.pt").exists()
    (line,) = caplog.messages
    assert line.startswith("reward-learned: the state of an earlier attempt is not resumed from, for ")
    assert "parameter reward.steps differs (4 then, 60 now)" in line
    assert "parameter reward.lora.rank differs (None then, 4 now)" in line
    assert "reward.batch_size" not in line
    assert "input" not in line
    assert "code" not in line


def test_state_of_other_inputs_and_code_names_their_files(task, caplog, monkeypatch):
    (task().state() / "step-1.pt").write_text("x")
    (task().paths.model("sft") / "note.txt").write_text("another student")
    honest = stages.file_hashes
    changed = {"retort/rewards/learned/train.py": "0"}
    monkeypatch.setattr(stages, "file_hashes", lambda *given: honest(*given) | changed)
    assert not (task().state() / "step-1.pt").exists()
    (line,) = caplog.messages
    assert line.endswith("for input outputs/models/sft differs; code retort/rewards/learned/train.py differs")


@pytest.mark.parametrize("mark", [None, "", "[1]", '{"parameter": 3}'])
def test_state_that_does_not_say_what_it_was_made_of_is_not_trusted(task, caplog, mark):
    folder = task().state()
    (folder / "step-1.pt").write_text("x")
    (folder / "made-of.json").unlink()
    if mark is not None:
        (folder / "made-of.json").write_text(mark)
    assert [path.name for path in task().state().iterdir()] == ["made-of.json"]
    assert caplog.messages[0].endswith("it does not say what it was made of")


def test_a_task_whose_input_is_not_there_yet_says_which_one_and_what_to_do(task):
    shutil.rmtree(task().paths.model("sft"))
    with pytest.raises(InputError, match=r"outputs/models/sft: does not exist, but reward-learned reads it\. Run the"):
        task().state()
    assert not task().paths.state("reward-learned").exists()


def test_an_empty_folder_such_as_a_mounted_volume_is_no_news(task, caplog):
    task().paths.state("reward-learned").mkdir(parents=True)
    assert task().state().exists()
    assert caplog.messages == []
