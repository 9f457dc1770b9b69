"""What `submit` refuses by itself."""

from pathlib import Path

import pytest
from retort_pipelines.profiles import Profile
from retort_pipelines.runs.submit import LONGEST_ARGUMENTS, check_images, check_name, check_size

from retort.config import load_config
from retort.errors import ConfigError
from retort.run.tasks import graph


def test_arguments_that_fit_one_command_line_are_taken():
    check_size({"votes_settings": "x" * 20, "prompts_settings": "x" * (LONGEST_ARGUMENTS - 100)})


def test_arguments_that_no_pod_could_be_started_with_are_refused_by_name():
    # Quotes are escaped where Kubeflow puts settings, so each counts twice.
    with pytest.raises(ConfigError, match="prompts_settings alone 60,000; Kubeflow puts them on one command line"):
        check_size({"votes_settings": "x" * 2000, "prompts_settings": '"' * 60_000})


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 64, "has 64 characters"), ("Big_Run", "lower-case"), ("-a", "dashes")]
)
def test_names_that_kubernetes_would_refuse(name, words):
    with pytest.raises(ConfigError, match=words):
        check_name(name)


LLAMA = Path(__file__).parents[4] / "configs/gsm8k-llama-3-8b-to-1b.yaml"


def profile(generate):
    return Profile.model_validate({"images": {"train": "registry/train:1", "generate": generate}})


def test_a_run_that_vllm_answers_for_needs_an_image_that_has_it():
    made = graph(load_config(LLAMA))
    with pytest.raises(
        ConfigError, match=r"teacher_responses, student_responses-sft, evaluate-.*: vLLM.*Set images\.generate"
    ):
        check_images(made, profile(None))
    check_images(made, profile("registry/generate:1"))


def test_rollouts_by_vllm_need_that_image_too():
    engines = ("models.teacher", "models.base", "students.sft", "students.sft_equal_compute", "students.ppo")
    changes = [f"{name}.engine={{type: transformers}}" for name in engines]
    made = graph(load_config(LLAMA, changes=[*changes, "ppo.rollout_engine={type: vllm}"]))
    with pytest.raises(ConfigError, match=r"^ppo-ppo: vLLM"):
        check_images(made, profile(None))
    auto = graph(load_config(LLAMA, changes=[*changes, "ppo.rollout_engine={type: auto}"]))
    assert {task.image for task in auto if task.group == "ppo-ppo"} == {"either"}


def test_a_judge_and_students_count_and_auto_is_content_with_either_image():
    place = "students.sft.engine"
    others = [f"{name}.engine={{type: transformers}}" for name in ("models.base", "students.ppo")]
    others.append("students.sft_equal_compute.engine={type: transformers}")
    changed = (f"{place}={{type: vllm}}", "models.teacher.engine={type: auto}", *others)
    made = graph(load_config(LLAMA, changes=changed))
    images = {task.group: task.image for task in made}
    assert images["teacher_responses"] == "either"
    assert {images["student_responses-sft"], images["evaluate-sft"]} == {"generate"}
    assert images["evaluate-ppo"] == "train"
    with pytest.raises(ConfigError, match=r"^student_responses-sft, evaluate-sft: vLLM"):
        check_images(made, profile(None))
    judged = ("answer=open", "judge.model={source: some/judge, engine: {type: vllm}}")
    votes = next(task for task in graph(load_config(LLAMA, changes=judged)) if task.group == "votes")
    assert votes.image == "generate"
