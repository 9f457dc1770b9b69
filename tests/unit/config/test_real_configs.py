"""Every configuration of the repository loads and its graphs compile; the GPU configurations' arithmetic is right."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines import compile as compiling
from pipelines.profiles import Profile
from retort.config import load_config
from retort.graph import STAGES, tasks
from retort.workspace import check_sources, dvc_yaml

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
LLAMA, QWEN = ROOT / "configs/gsm8k-llama-3-8b-to-1b.yaml", ROOT / "configs/gsm8k-qwen2.5-7b-to-0.5b.yaml"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_loads_names_files_that_exist_and_gives_a_dvc_graph(file):
    config = load_config(file)
    check_sources(config, ROOT)
    graph = yaml.safe_load(dvc_yaml(config, root=ROOT))
    assert list(graph["stages"]) == [stage.name for stage in STAGES]
    assert list(graph["stages"]["evaluate"]["matrix"]["benchmark"]) == [one.name for one in config.evaluate.benchmarks]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_compiles_for_kubeflow(file, tmp_path):
    compiling.compile(load_config(file), Profile(), tmp_path / "pipeline.yaml")
    pipeline = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    assert {f"{stage.name}_settings" for stage in STAGES} <= set(pipeline["root"]["inputDefinitions"]["parameters"])


@pytest.mark.parametrize("file", [LLAMA, QWEN], ids=lambda file: file.stem)
def test_gpu_configurations_sample_as_the_paper_does(file):
    config = load_config(file)
    teacher, student = config.teacher_responses, config.student_responses
    assert len(teacher.temperatures) * teacher.samples == 10
    assert len(student.temperatures) * student.samples == 30
    # what a response may need is what the stages after it accept; 240 tokens hold GSM8K's longest formatted question
    for stage in (config.sft, config.reward):
        assert stage.max_length >= student.max_new_tokens + 240
    assert config.ppo.max_new_tokens == student.max_new_tokens
    assert any("gsm8k_test" in path for path in config.prompts.decontaminate)
    assert len(tasks(config, next(stage for stage in STAGES if stage.name == "evaluate"))) == 5


def shapes(name):
    """The published shapes (config.json on the hub) of the four models, as `transformers` configurations."""
    from transformers import LlamaConfig, Qwen2Config

    return {
        "llama-3-8b": lambda: LlamaConfig(
            vocab_size=128256,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            tie_word_embeddings=False,
        ),
        "llama-3.2-1b": lambda: LlamaConfig(
            vocab_size=128256,
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=16,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=64,
            tie_word_embeddings=True,
        ),
        "qwen2.5-7b": lambda: Qwen2Config(
            vocab_size=152064,
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            tie_word_embeddings=False,
        ),
        "qwen2.5-0.5b": lambda: Qwen2Config(
            vocab_size=151936,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        ),
    }[name]()


def on_meta(name):
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shapes(name))


def cache_bytes(config):
    """Keys and values of one token in bfloat16."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers * config.num_key_value_heads * head * 2 * 2


@pytest.mark.parametrize(
    ("file", "teacher", "student", "caches"),
    [
        (LLAMA, "llama-3-8b", "llama-3.2-1b", ("131 kB", "33 kB")),
        (QWEN, "qwen2.5-7b", "qwen2.5-0.5b", ("57 kB", "12 kB")),
    ],
    ids=["llama", "qwen2.5"],
)
def test_parameter_counts_in_the_memory_estimates_are_those_of_the_models(file, teacher, student, caches):
    import torch

    from retort.adapters import with_adapters
    from retort.models import model_size

    text = " ".join(line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#"))
    said = re.search(r"teacher ([\d,]+), student ([\d,]+)\.", text)
    large, small = on_meta(teacher), on_meta(student)
    assert [int(number.replace(",", "")) for number in said.groups()] == [model_size(large), model_size(small)]
    gigabytes = re.search(r"([\d.]+) GB and ([\d.]+) GB", text)
    assert [f"{2 * model_size(model) / 1e9:.2f}" for model in (large, small)] == list(gigabytes.groups())
    assert tuple(f"{cache_bytes(model.config) / 1e3:.0f} kB" for model in (large, small)) == caches
    assert all(cache in text for cache in caches)
    per_rank = int(re.search(r"([\d,]+) x rank", text)[1].replace(",", ""))
    config = load_config(file)
    with torch.device("meta"):
        adapted = with_adapters(small, config.sft.lora)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == per_rank * config.sft.lora.rank


def test_the_llama_student_pads_with_a_token_of_its_own_and_the_qwen_student_needs_none_named():
    assert load_config(LLAMA).student.pad_token == "<|finetune_right_pad_id|>"
    assert load_config(QWEN).student.model_dump(include={"pad_token", "chat_template"}) == {
        "pad_token": None,
        "chat_template": None,
    }


def test_the_llama_students_template_gives_what_llama_3_gives(tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "data/gsm8k/tiny-llama")
    tokenizer.chat_template = (ROOT / load_config(LLAMA).student.chat_template).read_text()
    # the format of https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": " 1+1? "}], add_generation_prompt=True, tokenize=False
    ) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n1+1?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
