"""Model folders as downloads leave them: what is looked at before weights are loaded, so that faults are told early."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from retort.errors import ModelError

_POINTER = b"version https://git-lfs.github.com/spec/"
_AGAIN = "Download it again (hf download MODEL --local-dir FOLDER), which also completes a cut file."
_INDEX = "model.safetensors.index.json"


def check_folder(folder: Path, *, served: bool = False) -> None:
    """Refuse a local model folder that cannot be used, or not safely; weights are not loaded.

    Args:
        folder: The folder.
        served: Another program loads the weights (vLLM), which may read quantised ones that transformers cannot.

    Raises:
        ModelError: no config.json or a broken one; no weights, or only pickled ones, which can run code when loaded; a
            file that is a git-lfs pointer or was cut off; a shard missing; weights quantised by a package that is not
            installed; code of its own; an architecture that this transformers does not know.
    """
    config = _json(folder, "config.json", "Give the folder of a Hugging Face model.")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            _json(folder, name, _AGAIN)
    if (folder / "adapter_config.json").exists() and not any(folder.glob("model*.safetensors")):
        raise ModelError(
            f"{folder}: holds an adapter, not a whole model. Merge it: load it with peft and its base model, "
            "merge_and_unload(), save_pretrained(FOLDER)."
        )
    shards = _shards(folder)
    for shard in shards:
        _check_weights(shard)
    if (folder / _INDEX).exists():
        _check_index(folder)
    check_config(config, str(folder), served=served)


def check_config(config: dict[str, Any], name: str, *, training: bool = False, served: bool = False) -> None:
    """Refuse a configuration whose model cannot be loaded here.

    Args:
        config: Contents of config.json.
        name: The model, for messages.
        training: Its weights are to be trained.
        served: Another program loads the weights.

    Raises:
        ModelError: it is quantised and the package that reads such weights is not installed; it is of an architecture
            that only its own code or another version of transformers knows; it is no language model; it is quantised
            and to be trained.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    where = f"{name}/config.json"
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"{where}, field 'model_type': does not say which architecture it is. {_AGAIN}")
    if kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            raise ModelError(
                f"{where}, field 'auto_map': {kind!r} is known only by code in the folder itself, which is not run: it "
                "could do anything. Use a model whose architecture transformers has, or serve it elsewhere and ask it "
                "as an endpoint (teacher.type openai)."
            )
        raise ModelError(
            f"{where}, field 'model_type': this transformers does not know {kind!r}. Use a newer version of it, or "
            "another model."
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(
            f"{where}, field 'model_type': {kind!r} is no model that continues text. Use a causal language model."
        )
    quantised = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if isinstance(quantised, dict):
        if training:
            raise ModelError(
                f"{where}, field 'quantization_config': its weights are quantised, so they cannot be trained. Use the "
                "model's unquantised weights as the student."
            )
        if not served:
            _check_quantised(quantised, where)


def _check_quantised(settings: dict[str, Any], where: str) -> None:
    from transformers.quantizers.auto import AutoHfQuantizer

    where += ", field 'quantization_config'"
    plain = "or use the model's unquantised weights"
    try:
        AutoHfQuantizer.from_config(dict(settings), pre_quantized=True).validate_environment()
    except ImportError as error:
        raise ModelError(
            f"{where}: its weights are quantised, and the package that reads them is missing: {error}. Install it, "
            f"{plain}."
        ) from error
    except ValueError as error:
        raise ModelError(
            f"{where}: transformers cannot load weights quantised like this: {error} Serve the model elsewhere and ask "
            f"it as an endpoint (teacher.type openai), {plain}."
        ) from error
    except (RuntimeError, TypeError, KeyError, AttributeError):
        return  # wants a GPU, which the machine that loads the weights may have; or told when it loads them


def _json(folder: Path, name: str, remedy: str) -> dict[str, Any]:
    file = folder / name
    if not file.exists():
        raise ModelError(f"{file}: does not exist. {remedy}")
    data = file.read_bytes()
    _refuse_pointer(file, data[:64])
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ModelError(f"{file}: is no JSON ({error}); it may have been cut off. {_AGAIN}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file}: is no JSON object. {_AGAIN}")
    return found


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.safetensors"))
    if not shards and not (folder / _INDEX).exists():
        partial = sorted([*folder.glob("*.incomplete"), *folder.glob("*.part"), *folder.glob("*.gguf")])
        pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        if pickled:
            raise ModelError(
                f"{pickled[0]}: pickled weights can run code when loaded and are refused. Convert them: "
                "load with transformers and call save_pretrained(FOLDER), which writes safetensors."
            )
        if partial and partial[0].suffix == ".gguf":
            raise ModelError(
                f"{partial[0]}: GGUF weights are not read. Convert them: AutoModelForCausalLM.from_pretrained(FOLDER, "
                "gguf_file=NAME), then save_pretrained(FOLDER) of model and tokenizer."
            )
        if partial:
            raise ModelError(f"{partial[0]}: the download of its weights was not finished. {_AGAIN}")
        raise ModelError(f"{folder}: holds no *.safetensors weights. Give the folder of a Hugging Face model.")
    return shards


def _check_index(folder: Path) -> None:
    listed = _json(folder, _INDEX, _AGAIN).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelError(f"{folder / _INDEX}, field 'weight_map': lists no weights. {_AGAIN}")
    held: dict[str, set[str]] = {}
    for name in sorted(set(map(str, listed.values()))):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: does not exist, but {_INDEX} lists it. {_AGAIN}")
        held[name] = _check_weights(folder / name)
    lost = sorted(weight for weight, name in listed.items() if weight not in held[str(name)])
    if lost:
        raise ModelError(
            f"{folder / listed[lost[0]]}: lacks the weights {lost[0]!r} that {_INDEX} lists for it; files of two "
            f"downloads may be mixed. {_AGAIN}"
        )


def _check_weights(file: Path) -> set[str]:
    """Names of the tensors in a safetensors file, whose header says how long it must be."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(64)
        _refuse_pointer(file, start)
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else -1
        if not 2 <= length <= size - 8:
            raise ModelError(f"{file}: is no whole safetensors file ({size:,} bytes); it was cut off. {_AGAIN}")
        stream.seek(8)
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(f"{file}: its header cannot be read ({error!r}). {_AGAIN}") from error
    if end != size:
        raise ModelError(f"{file}: has {size:,} bytes, its header says {end:,}; it was cut off. {_AGAIN}")
    return set(header)


def _refuse_pointer(file: Path, start: bytes) -> None:
    if start.startswith(_POINTER[:40]):
        raise ModelError(
            f"{file}: is a git-lfs pointer, not the file itself. Run `git lfs pull` in its folder, or download the "
            "model with `hf download`."
        )
