"""Model folders as downloads leave them: each fault is told with the file and what to do."""

from __future__ import annotations

import json
import struct

import pytest
from safetensors.torch import load_file, save_file

from retort.errors import ModelError
from retort.modeling.folders import check_config, check_folder
from retort.modeling.loading import load_model, load_tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(tiny_model_folder):
    return tiny_model_folder()


def configured(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def sharded(folder):
    """The folder with its weights in two shards and an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    listed = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return folder


def test_a_whole_folder_passes_in_one_file_or_in_shards(folder):
    check_folder(folder)
    check_folder(sharded(folder))
    assert load_model(folder, device="cpu").config.model_type == "llama"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.5, 0.999])
def test_weights_that_were_cut_off_are_refused(folder, share):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ModelError, match=r"model\.safetensors: .*cut off.*Download it again"):
        load_model(folder)


def test_weights_with_something_behind_them_are_refused(folder):
    with (folder / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match=r"model\.safetensors: has .* bytes, its header says"):
        check_folder(folder)


def test_a_header_that_is_no_json_is_refused(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"{{{{" + b"0" * 100)
    with pytest.raises(ModelError, match=r"model\.safetensors: its header cannot be read"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_git_lfs_pointer_is_refused_whatever_it_stands_for(folder, name):
    (folder / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name}: is a git-lfs pointer.*git lfs pull"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("text", ["", '{"a": ', "[1]"])
def test_a_json_file_that_was_cut_off_is_refused(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(ModelError, match=rf"{name}: is no JSON"):
        check_folder(folder)


def test_a_missing_shard_is_refused(folder):
    (sharded(folder) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002\.safetensors: does not exist, but .*index.json lists it"):
        check_folder(folder)


def test_shards_of_another_download_are_refused(folder):
    file = sharded(folder) / "model-00002-of-00002.safetensors"
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"lacks the weights 'model\..*two downloads"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "pickled weights.*save_pretrained"),
        ("model.Q4.gguf", "GGUF weights are not read.*gguf_file"),
        ("x.safetensors.incomplete", "was not finished.*Download"),
        ("notes.txt", r"holds no \*\.safetensors"),
    ],
)
def test_other_weights_are_refused_with_the_way_out(folder, name, words):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=words):
        check_folder(folder)


def test_an_adapter_is_no_model(folder):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds an adapter.*merge_and_unload"):
        check_folder(folder)


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "bitsandbytes", "hqq"])
def test_quantised_weights_without_their_package_are_refused_with_its_name(folder, method):
    configured(folder, quantization_config={"quant_method": method, "bits": 4, "group_size": 32, "load_in_4bit": True})
    with pytest.raises(ModelError, match=r"field 'quantization_config': its weights are quantised.*pip install"):
        load_model(folder)
    check_folder(folder, served=True)  # vLLM reads them by itself


def test_quantised_weights_pass_where_their_package_is(folder, monkeypatch):
    monkeypatch.setattr("transformers.quantizers.quantizer_awq.is_gptqmodel_available", lambda: True)
    configured(folder, quantization_config={"quant_method": "awq", "bits": 4, "group_size": 32})
    check_folder(folder)


def test_a_quantised_student_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    with pytest.raises(ModelError, match=r"some/model/config.json.*cannot be trained.*unquantised"):
        check_config(config, "some/model", training=True)


def test_an_unknown_quantisation_is_refused(folder):
    configured(folder, quantization_config={"quant_method": "no-such"})
    with pytest.raises(ModelError, match=r"quantization_config': transformers cannot load.*endpoint"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "no-such", "auto_map": {"AutoConfig": "x.Y"}}, "code in the folder itself, which is not run"),
        ({"model_type": "no-such"}, "does not know 'no-such'.*newer"),
        ({"model_type": None}, "does not say which architecture"),
        ({"model_type": "t5"}, "no model that continues text"),
    ],
)
def test_an_architecture_that_cannot_be_used_is_refused(folder, changes, words):
    configured(folder, **changes)
    with pytest.raises(ModelError, match=rf"config\.json, field '(auto_map|model_type)': .*{words}"):
        check_folder(folder)


def test_weights_of_another_shape_than_the_configuration_says_are_told_with_the_model(folder):
    configured(folder, hidden_size=32, head_dim=8)
    with pytest.raises(ModelError, match="transformers cannot load it"):
        load_model(folder)


def test_a_broken_tokenizer_is_told_with_the_model(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "no-such"}}')
    with pytest.raises(ModelError, match="transformers cannot load its tokenizer"):
        load_tokenizer(folder)


def test_a_saved_model_names_every_token_that_ends_a_response(tmp_path, tiny_model, tiny_tokenizer):
    from copy import deepcopy

    from retort.modeling.loading import save_model

    tokenizer, model = deepcopy(tiny_tokenizer), tiny_model()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|system|>")
    save_model(model, tokenizer, tmp_path / "m")
    ends = json.loads((tmp_path / "m/generation_config.json").read_text())["eos_token_id"]
    assert ends == sorted(tokenizer.convert_tokens_to_ids(["<|end|>", "<|system|>"]))
