"""What is kept when training meets NaN or infinity: which tensor holds it, at which step, and the batch.

It lies beside the resume state, not in it: another attempt with other parameters removes that. Nothing is
overwritten, neither the last checkpoint nor what an earlier failure left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor, nn

from retort.errors import TrainingError
from retort.io.files import atomic_path, native_writes, write_json
from retort.modeling.fsdp import to_local


def stop_training(
    stage: str,
    *,
    step: int,
    modules: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    found: tuple[str, Tensor],
    batch: Sequence[Mapping[str, Any]],
    state: Path,
    remedy: str,
) -> NoReturn:
    """Name the first tensor that is not finite, save it with the batch, and stop.

    Searched in this order, for a cause comes before what it causes: weights, then `tensors` in theirs, then gradients,
    then what was found.

    Args:
        stage: Name of the stage.
        step: Step (from 1) at which it happened.
        modules: What is trained, by name.
        tensors: Tensors of the step, inputs before outputs; all are saved.
        found: Name and value of what was found not to be finite.
        batch: The examples of the step, as rows of plain values.
        state: Folder of the resume state.
        remedy: What to try, as a sentence.

    Raises:
        TrainingError: always; names the tensor, the step and the folder that holds `batch.json` and
            `tensors.safetensors`.
    """
    name, tensor = next(_broken(modules, tensors), found)
    count, kind = int((~tensor.isfinite()).sum()), "nan" if tensor.isnan().any() else "inf"
    folder = _free(state.with_name(f"{state.name}.failed") / f"step-{step:08d}")
    facts = {"stage": stage, "step": step, "tensor": name, "not_finite": count, "values": tensor.numel()}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "batch.json", {**facts, "batch": list(map(_plain, batch))})
        _save({**tensors, found[0]: found[1], name: tensor}, temporary / "tensors.safetensors")
    raise TrainingError(
        f"{stage}: {name} holds {kind} at step {step} ({count} of {tensor.numel()} values). It is saved with the "
        f"step's batch in {folder}; checkpoints are as they were. {remedy}"
    )


def _broken(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    named = [(f"{key}.{name}", value) for key, part in modules.items() for name, value in part.named_parameters()]
    # Of a sharded tensor this process's part: the others may not be here.
    candidates = [(f"weight {name}", to_local(value.detach())) for name, value in named]
    candidates += tensors.items()
    candidates += [(f"gradient of {name}", to_local(value.grad)) for name, value in named if value.grad is not None]
    return ((name, value) for name, value in candidates if not bool(value.isfinite().all()))


def _free(folder: Path) -> Path:
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: numbers that are not finite become words."""
    return {key: str(value) if isinstance(value, float) and value - value != 0 else value for key, value in row.items()}


def _save(tensors: Mapping[str, Tensor], file: Path) -> None:
    from safetensors.torch import save_file

    with native_writes():
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, file)
