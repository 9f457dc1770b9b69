"""Labelled responses as the reward model reads them, in an unnamed file that is mapped: they need not fit in memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.errors import ModelError, StorageError
from retort.io.tables import REWARD_EXAMPLES
from retort.rewards.learned.model import RewardModel

CHUNK_ROWS = 10_000
"""Most examples that are in memory at once."""
CHUNK_CHARACTERS = 16_000_000
"""Most characters of their responses: with features after each token, some hundred bytes a token are kept of each."""

T = TypeVar("T")
_SCHEMA = pa.schema(
    [
        *REWARD_EXAMPLES,
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("response_ids", pa.list_(pa.int32())),
        pa.field("token_features", pa.list_(pa.float32())),  # null unless the loss asks every token
    ]
)


@dataclass(frozen=True)
class Examples:
    """Labelled responses, tokenized for the trunk and with the likelihood models' features.

    In memory are the features (4 F bytes a response, a few dozen), the labels and the table's offsets; text and tokens
    are read from the file where they are asked for.
    """

    features: Tensor
    """Shape (N, F), float32, not yet scaled."""
    labels: Tensor
    """Shape (N,), float32: 1 where the response agrees with the vote."""
    _table: pa.Table
    _places: NDArray[np.int64]
    """Rows of the table that these examples are."""

    def __len__(self) -> int:
        return len(self._places)

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """The examples as REWARD_EXAMPLES has them."""
        return self._read(lambda i: {name: self._table.column(name)[i].as_py() for name in REWARD_EXAMPLES.names})

    @property
    def tokens(self) -> Sequence[tuple[list[int], list[int]]]:
        """Tokens of prompt and response of each, for the trunk."""
        prompts, responses = self._table.column("prompt_ids"), self._table.column("response_ids")
        return self._read(lambda i: (prompts[i].as_py(), responses[i].as_py()))

    @property
    def token_features(self) -> Sequence[Tensor] | None:
        """Features after each token of each, shape (max(1, tokens), F), where the loss asks every token."""
        column, width = self._table.column("token_features"), self.features.shape[1]
        if column.null_count or not len(column):
            return None
        return self._read(lambda i: torch.from_numpy(column[i].values.to_numpy().copy()).view(-1, width))

    @property
    def prompt_lengths(self) -> NDArray[np.int64]:
        """Tokens of each prompt."""
        return self._lengths("prompt_ids")

    @property
    def response_lengths(self) -> NDArray[np.int64]:
        """Tokens of each response."""
        return self._lengths("response_ids")

    def only(self, index: Sequence[int]) -> Examples:
        """Some of the examples."""
        chosen = torch.as_tensor(index, dtype=torch.long)
        places = self._places[chosen.numpy()]
        return replace(self, features=self.features[chosen], labels=self.labels[chosen], _places=places)

    def _lengths(self, name: str) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = pc.list_value_length(self._table.column(name)).to_numpy().astype(np.int64)
        return lengths[self._places]

    def _read(self, row: Callable[[int], T]) -> Sequence[T]:
        return _Rows(self._places, row)


class _Rows(Sequence[T]):
    """Rows that are read when they are asked for."""

    def __init__(self, places: NDArray[np.int64], row: Callable[[int], T]):
        self._places, self._row = places, row

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return _Rows(self._places[index], self._row)
        return self._row(int(self._places[index]))


def prepare(
    model: RewardModel, rows: Iterable[dict[str, Any]], max_length: int, *, folder: Path, every_token: bool = False
) -> Examples:
    """Tokenize rows of REWARD_EXAMPLES and compute their features; those too long for the trunk are left out.

    Rows are read a chunk at a time, and go with their tokens into a file without a name, which is gone when the process
    is.

    Args:
        model: Gives tokens and the likelihood models' likelihood.
        rows: The examples.
        max_length: Longest prompt with response, in the trunk's tokens.
        folder: Where the file lies: 4 bytes a token beside the text, and the features after each token where asked for.
        every_token: Compute the features after each token too: 4 bytes a feature and token.

    Raises:
        ModelError: a likelihood model's likelihood of a response is not a finite number.
        StorageError: the file cannot be written.
    """
    tables, labels = [torch.zeros(0, len(model.feature_mean))], [torch.zeros(0)]
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (the map below outlives it)
        with file, pa.ipc.new_stream(file, _SCHEMA) as writer:
            for chunk in _chunks(rows):
                batch, features = _encoded(model, chunk, max_length, every_token=every_token)
                writer.write_batch(batch)
                tables.append(features)
                labels.append(torch.tensor(batch.column("label").to_numpy(), dtype=torch.float32))
            writer.close()
            file.flush()
            table = pa.ipc.open_stream(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))).read_all()
    except OSError as error:
        raise StorageError(
            f"{folder}: the reward model's examples cannot be written there ({error}). Make room, and run it again."
        ) from error
    return Examples(torch.cat(tables), torch.cat(labels), table, np.arange(len(table)))


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk, characters = [], 0
    for row in rows:
        chunk.append(row)
        characters += len(row["response"])
        if len(chunk) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _encoded(
    model: RewardModel, rows: Sequence[dict[str, Any]], max_length: int, *, every_token: bool
) -> tuple[pa.RecordBatch, Tensor]:
    """The rows that are short enough with their tokens, and their features."""
    kept = []
    for row in rows:
        prompt, response = model.encode(row["prompt"], row["response"], row["finished"])
        if len(prompt) + len(response) <= max_length:
            kept.append(row | {"prompt_ids": prompt, "response_ids": response, "token_features": None})
    columns = [[row[name] for row in kept] for name in ("prompt", "response", "finished")]
    if not kept:
        features = torch.zeros(0, len(model.feature_mean))
    elif every_token:
        features, of_tokens = model.token_features(*columns)
        for row, values in zip(kept, of_tokens, strict=True):
            row["token_features"] = values.flatten().numpy()
    else:
        features = model.features(*columns)
    for place in (~features.isfinite().all(dim=1)).nonzero().flatten()[:1].tolist():
        raise ModelError(
            f"the likelihood of the response {kept[place]['response']!r} to prompt {kept[place]['prompt_id']!r} under "
            f"{' or '.join(model.likelihood_models)} is no finite number. Give that model another "
            "dtype, or mend its weights."
        )
    return pa.RecordBatch.from_pylist(kept, schema=_SCHEMA), features
