"""Every configuration of the repository loads and compiles; what GPU ones say of memory is what `plan` says."""

import json
import re
from pathlib import Path

import pytest
import yaml
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.config.load import find
from retort.demo import smollm2
from retort.pod.settings import parameter_of
from retort.run.tasks import graph
from retort.run.workspace import check_sources, dvc_yaml

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
LLAMA, QWEN = ROOT / "configs/gsm8k-llama-3-8b-to-1b.yaml", ROOT / "configs/gsm8k-qwen2.5-7b-to-0.5b.yaml"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_loads_names_files_that_exist_and_gives_a_dvc_graph(file, tmp_path):
    config, root = load_config(file), ROOT
    if "python -m retort.demo.smollm2" in file.read_text():  # its prompts are made by that command
        root = tmp_path
        smollm2.write_prompts(root / "smollm2/prompts.jsonl")
    made = graph(config, root)
    check_sources(config, made, root)
    assert list(yaml.safe_load(dvc_yaml(made))["stages"]) == [task.address for task in made]
    assert {task.values["benchmark"] for task in made.of_stage("evaluate")} == {
        one.name for one in config.evaluate.benchmarks
    }


@pytest.mark.parametrize("file", FILES[1:], ids=lambda file: file.stem)
def test_a_configuration_that_ships_is_found_by_its_name_anywhere(file, tmp_path, monkeypatch):
    """`gsm8k-qwen2.5-7b-to-0.5b` has a dot in its name, which is no suffix."""
    monkeypatch.chdir(tmp_path)
    assert find(Path(file.stem)).read_text() == file.read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_compiles_for_kubeflow(file, tmp_path):
    compiling.compile(load_config(file), Profile(), tmp_path / "pipeline.yaml")
    pipeline = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    wanted = {parameter_of(group) for group in graph(load_config(file)).groups}
    assert wanted <= set(pipeline["root"]["inputDefinitions"]["parameters"])


@pytest.mark.parametrize("file", [LLAMA, QWEN], ids=lambda file: file.stem)
def test_gpu_configurations_sample_as_the_paper_does(file):
    config = load_config(file)
    teacher, student = config.teacher_responses, config.student_responses
    assert len(teacher.temperatures) * teacher.samples == 10
    assert len(student.temperatures) * student.samples == 30
    # what a response may need is what the stages after it accept; 240 tokens hold GSM8K's longest formatted question
    for stage in (config.settings("sft"), config.reward_settings("learned")):
        assert stage.max_length >= student.max_new_tokens + 240
    assert config.settings("ppo").max_new_tokens == student.max_new_tokens
    assert any("gsm8k_test" in path for path in config.prompts.decontaminate)
    assert len(graph(config).of_stage("evaluate")) == 5


@pytest.mark.parametrize("file", [LLAMA, QWEN], ids=["llama", "qwen2.5"])
def test_the_peaks_and_hours_said_in_a_configuration_are_those_of_its_plan(file):
    text = " ".join(line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#"))
    peak, beside = re.search(r"(\d+) GB at most .*? (\d+) GB beside it, the reward model's training", text).groups()
    hours = re.search(r"([\d.]+) hours on one H100", text)[1]
    done = CliRunner().invoke(app, ["plan", str(file), "--json"])
    found = json.loads(done.stdout.splitlines()[-1])
    stages = {stage["stage"]: stage["bytes"]["total"] / 1e9 for stage in found["stages"]}
    assert (f"{found['peak_bytes'] / 1e9:.0f}", f"{stages['reward-learned']:.0f}") == (peak, beside)
    by_vllm = {stage["stage"] for stage in found["stages"] if stage["peak"].startswith("vLLM")}
    assert by_vllm == {name for name in stages if name.startswith(("teacher_", "student_", "evaluate"))}
    assert max(value for name, value in stages.items() if name not in by_vllm) == stages["reward-learned"]
    assert f"{found['hours']:.1f}" == hours


def test_the_llama_student_pads_with_a_token_of_its_own_and_the_qwen_student_needs_none_named():
    assert load_config(LLAMA).models["base"].pad_token == "<|finetune_right_pad_id|>"
    assert load_config(QWEN).models["base"].model_dump(include={"pad_token", "chat_template"}) == {
        "pad_token": None,
        "chat_template": None,
    }


def test_the_llama_students_template_gives_what_llama_3_gives(tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "data/gsm8k/tiny-llama")
    tokenizer.chat_template = (ROOT / load_config(LLAMA).models["base"].chat_template).read_text()
    # the format of https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": " 1+1? "}], add_generation_prompt=True, tokenize=False
    ) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n1+1?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
