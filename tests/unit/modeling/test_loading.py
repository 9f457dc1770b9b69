"""Model folders: loading, references, and folders that cannot be used."""

from __future__ import annotations

import pytest
import torch

from retort.errors import ModelError
from retort.modeling.loading import (
    Reference,
    check_folder,
    context_length,
    load_model,
    load_tokenizer,
    model_size,
    model_source,
    read_reference,
    save_model,
    write_reference,
)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gpt2"])
def test_a_model_is_saved_as_safetensors_and_loaded_with_the_same_weights(
    tmp_path, tiny_model, tiny_tokenizer, architecture
):
    model = tiny_model(architecture)
    save_model(model, tiny_tokenizer, tmp_path / "m")
    assert (tmp_path / "m/model.safetensors").exists()
    loaded = load_model(tmp_path / "m", device="cpu")
    assert not loaded.training
    for (name, weight), (other, same) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(weight, same)
    assert context_length(loaded) == 256


def test_saving_twice_gives_the_same_bytes(tmp_path, tiny_model, tiny_tokenizer):
    for name in ("a", "b"):
        save_model(tiny_model(), tiny_tokenizer, tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_the_size_counts_tied_weights_once(tiny_model):
    # Embeddings 320 x 16, two layers of 16 x (16 + 8 + 8 + 16) + 3 x 16 x 32 + 2 x 16, last norm 16.
    assert model_size(tiny_model()) == 5120 + 2 * (768 + 1536 + 32) + 16


def test_a_reference_is_followed_from_the_workspace_and_not_from_here(tmp_path, tiny_model_folder, monkeypatch):
    tiny_model_folder(name="data/teacher")
    folder = tmp_path / "outputs/models/teacher"
    reference = Reference("data/teacher", dtype="bfloat16")
    write_reference(folder, reference)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_reference(folder) == reference
    assert model_source(folder, reference) == str(tmp_path / "data/teacher")
    assert load_model(folder).dtype == torch.bfloat16
    assert load_tokenizer(folder).pad_token == "<|pad|>"


def test_the_tokenizer_pads_on_the_left(tiny_model_folder):
    assert load_tokenizer(tiny_model_folder()).padding_side == "left"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere: no such model folder\. Run the stage"):
        load_model(tmp_path / "nowhere")


def test_pickled_weights_are_refused_beside_a_remedy(tiny_model_folder):
    folder = tiny_model_folder()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin: pickled weights can run code.*save_pretrained"):
        load_model(folder)


def test_a_folder_without_weights_or_configuration_is_refused(tiny_model_folder):
    folder = tiny_model_folder()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no"):
        check_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config.json: does not exist"):
        check_folder(folder)


def test_a_broken_configuration_says_which_model(tiny_model_folder):
    folder = tiny_model_folder()
    (folder / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(
        ModelError, match=r"llama-0/config.json, field 'model_type'.*does not know 'no-such-arch.*newer"
    ):
        load_model(folder)


def test_a_tokenizer_that_is_missing_says_which_model(tiny_model_folder):
    folder = tiny_model_folder()
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"llama-0"):
        load_tokenizer(folder)
