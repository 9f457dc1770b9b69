"""Real-size models on the meta device: parameter counts, LoRA targets, FSDP units and checkpoint names."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from retort.config.training import LoraConfig
from retort.errors import ModelError
from retort.modeling.fsdp import decoder_layers, shard
from retort.modeling.loading import model_size
from retort.modeling.lora import with_adapters
from retort.plan.shapes import model_config, on_meta, shipped

# Parameters as the makers' safetensors indexes give them, layers, and the size of one LoRA rank on all linear layers.
LARGE = {
    "meta-llama/Llama-3.1-8B": (8_030_261_248, 32),
    "Qwen/Qwen2.5-7B": (7_615_616_512, 28),
    "google/gemma-2-2b": (2_614_341_888, 26),
}
SMALL = {"meta-llama/Llama-3.2-1B": 1_235_814_400, "Qwen/Qwen2.5-0.5B": 494_032_768}


@functools.cache
def made(name, dtype="bfloat16"):
    return on_meta(model_config(name, root=Path()), dtype)


@pytest.mark.parametrize(("name", "count"), [*((name, known[0]) for name, known in LARGE.items()), *SMALL.items()])
def test_parameter_counts_are_the_published_ones(name, count):
    assert model_size(made(name)) == count == shipped()[name]["parameters"]
    assert all(parameter.is_meta for parameter in made(name).parameters())


@pytest.mark.parametrize("name", LARGE)
def test_adapters_find_the_seven_projections_of_every_layer_and_leave_the_head_alone(name):
    config = model_config(name, root=Path())
    with torch.device("meta"):
        adapted = with_adapters(on_meta(config), LoraConfig(rank=8, alpha=16))
    found = {module for module, _ in adapted.named_modules() if module.endswith(".lora_A.default")}
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert len(found) == len(projections) * LARGE[name][1]
    assert {module.split(".")[-3] for module in found} == set(projections)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    # a rank adds inputs + outputs of each projection
    layer = 2 * (config.hidden_size + queries) + 2 * (config.hidden_size + keys)
    layer += 3 * (config.hidden_size + config.intermediate_size)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == 8 * layer * LARGE[name][1]


@pytest.fixture
def team_of_eight():
    """Eight processes as far as this one can tell: nothing is ever sent."""
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    yield distributed.device_mesh.init_device_mesh("cpu", (8,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", LARGE)
def test_each_decoder_layer_is_sharded_then_the_heads_then_the_rest(name, team_of_eight):
    from torch.distributed.fsdp import FSDPModule

    from retort.trainers.ppo.critic import Critic

    policy = on_meta(model_config(name, root=Path()))
    with torch.device("meta"):
        critic = Critic(on_meta(policy.config), features=6, head_size=64)
    count, extra = LARGE[name][0], model_size(critic) - LARGE[name][0]
    for root, trunk in ((policy, policy), (critic, critic.trunk)):
        shard(root, trunk, mesh=team_of_eight)
        units = [module for module in root.modules() if isinstance(module, FSDPModule)]
        heads = [critic.from_hidden, critic.from_features, critic.to_value] if root is critic else []
        assert units == [root, *trunk.model.layers, *heads]
        assert len(trunk.model.layers) == LARGE[name][1]
        # As many parameters as before, of which this process holds an eighth; rows that eight do not divide are few.
        assert model_size(root) == count + (extra if heads else 0)
        mine = sum(parameter.to_local().numel() for parameter in root.parameters())
        assert mine == pytest.approx(model_size(root) / 8, rel=1e-4)
    assert list(policy.state_dict()) == list(made(name).state_dict())


@pytest.mark.parametrize("name", LARGE)
def test_accelerate_wraps_the_same_decoder_layers(name):
    from accelerate.utils import FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    model = made(name)
    plugin.set_auto_wrap_policy(model)
    classes = plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
    assert [module for module in model.modules() if type(module) in classes] == decoder_layers(model)
    assert decoder_layers(model) == list(model.model.layers)


@pytest.mark.parametrize(("name", "shards"), [("meta-llama/Llama-3.1-8B", 4), ("Qwen/Qwen2.5-7B", 4)])
def test_checkpoints_are_cut_into_the_files_that_their_makers_publish(name, shards):
    from huggingface_hub import split_torch_state_dict_into_shards

    split = split_torch_state_dict_into_shards(made(name).state_dict(), max_shard_size="5GB")
    assert sorted(split.filename_to_tensors) == [
        f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)
    ]
    assert split.metadata["total_size"] == 2 * LARGE[name][0]
    assert {"model.layers.0.self_attn.q_proj.weight", "lm_head.weight"} <= set(split.tensor_to_filename)


def test_a_tied_head_is_written_once():
    from huggingface_hub import split_torch_state_dict_into_shards

    state = {name: value for name, value in made("google/gemma-2-2b").state_dict().items() if name != "lm_head.weight"}
    split = split_torch_state_dict_into_shards(state, max_shard_size="5GB")
    assert sorted(split.filename_to_tensors) == [f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    assert split.metadata["total_size"] == 2 * LARGE["google/gemma-2-2b"][0]


def test_a_folder_comes_before_a_shipped_shape_and_needs_its_configuration_only(tmp_path):
    folder = tmp_path / "Qwen" / "Qwen2.5-7B"
    folder.mkdir(parents=True)
    shape = {"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(shape))
    assert model_config("Qwen/Qwen2.5-7B", root=tmp_path).hidden_size == 32


def test_an_unknown_model_without_a_connection_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"nobody/nothing: .* put its config\.json into a folder.*Llama-3\.1-8B"):
        model_config("nobody/nothing", root=tmp_path)
