"""What a plan has to assume because only the run itself can tell: numbers and lengths of texts, speeds."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from retort.config import RetortConfig
from retort.config.data import SourceConfig
from retort.run.embedded import place

KNOWN_ROWS = {("openai/gsm8k", "train"): 7473, ("openai/gsm8k", "test"): 1319}
"""Rows of hub data sets by id and split, from their cards."""


@dataclass(frozen=True)
class Assumptions:
    """Every one of them can be set on the command line."""

    prompt_tokens: int
    """Mean length of a formatted prompt."""
    longest_prompt: int
    """Longest formatted prompt: memory is planned for it."""
    response_share: float
    """Mean length of a response as a share of `max_new_tokens`; memory is planned for responses at their longest."""
    prompts: int | None
    """Training prompts; None where they cannot be counted here."""
    mfu: float
    """Share of the device's peak that passes over whole sequences reach (MFU, Chowdhery et al. 2022, §4.1)."""
    bandwidth_share: float
    """Share of the memory's bandwidth that a decoding step reaches."""
    step_overhead_s: float
    """What a decoding step of the `transformers` engine costs whatever its size: a few kernels a layer, launched from
    Python."""

    @classmethod
    def usual(cls, prompts: int | None = None) -> Assumptions:
        """What `retort plan` assumes where nothing else is said."""
        return cls(120, 240, 0.35, prompts, mfu=0.35, bandwidth_share=0.6, step_overhead_s=0.025)

    def response(self, max_new_tokens: int) -> float:
        """Mean length of a response."""
        return self.response_share * max_new_tokens


def count_prompts(config: RetortConfig, root: Path) -> int | None:
    """Training prompts that the sources hold, as far as files here and well-known data sets tell."""
    rows = [_rows(source, root) for source in config.prompts.sources]
    if any(count is None for count in rows):
        return config.prompts.limit
    left = sum(count or 0 for count in rows) - config.prompts.validation - config.prompts.test
    return min(left, config.prompts.limit or left)


def _rows(source: SourceConfig, root: Path) -> int | None:
    if source.type == "datasets":
        return KNOWN_ROWS.get((source.path, source.split))
    return rows_of(place(source.path, root))


def rows_of(file: Path) -> int | None:
    """Rows of a JSONL (gzipped or not) or Parquet file; None where it does not exist."""
    if not file.exists():
        return None
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(file).num_rows)
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        return sum(1 for line in stream if line.strip())
