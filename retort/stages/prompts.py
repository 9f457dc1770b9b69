"""Stage `prompts`: load, deduplicate, decontaminate and split."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.config.data import PromptsConfig
from retort.data.decontaminate import BenchmarkIndex
from retort.data.deduplicate import find_duplicates
from retort.data.sources import Prompt, load_prompts
from retort.data.split import Splits, split_prompts
from retort.errors import ConfigError
from retort.io.files import atomic_path, write_text
from retort.io.progress import Progress
from retort.io.tables import PROMPTS, write_table
from retort.modeling.conversations import compared
from retort.run.stage import Context

DROPPED = "dropped.jsonl"
"""Beside the tables: each prompt that was dropped (or reported), why, and what it repeats."""

_CONTAMINATED = (
    " Contaminated prompts are questions of a benchmark in prompts.decontaminate: use others; or keep them with "
    "prompts.contaminated=report, and never compare the student on that benchmark."
)

_USE_ORDER = {"test": 0, "validation": 1, "split": 2, "train": 3, "unlabelled": 4}


@dataclass(frozen=True)
class PromptsResult:
    """What became of the rows."""

    loaded: int
    train: int
    validation: int
    test: int
    unlabelled: int
    """Prompts that the teacher never answers."""
    unused: int
    """Training prompts beyond `limit`, and unlabelled ones beyond `unlabelled`."""
    exact_duplicates: int
    near_duplicates: int
    contaminated: int
    """Prompts that overlap a benchmark item; dropped unless the configuration says to report them only."""
    contaminated_kept: int
    with_answer: int
    """Kept prompts with a gold answer."""
    contamination: dict[str, dict[str, float]]
    """For each benchmark file: overlapping prompts, how many overlap an item wholly, their share of all loaded."""


def run(context: Context) -> PromptsResult:
    """Write the prompts of each use, and what was dropped and why.

    Raises:
        InputError: a source or benchmark file is missing or malformed.
        ConfigError: too few prompts are left for the wanted splits.
    """
    config, root = context.config.prompts, context.paths.root
    prompts = list(load_prompts(config.sources, root))
    splits, remarks = clean_and_split(prompts, config, root, seed=context.config.seed)
    own = {index for index in remarks if prompts[index].use == "unlabelled"}
    uses: list[tuple[tuple[str, ...], set[int]]] = [(("train", "validation", "test"), set(remarks) - own)]
    if config.has_unlabelled:
        uses.append((("unlabelled",), own))
    for names, remarked in uses:
        some = {index: remarks[index] for index in sorted(remarked)}
        _write(context.paths.prompts(names[0]).parent, prompts, {name: getattr(splits, name) for name in names}, some)
    return _result(prompts, splits, remarks)


def clean_and_split(
    prompts: list[Prompt], config: PromptsConfig, root: Path, *, seed: int
) -> tuple[Splits, dict[int, dict[str, Any]]]:
    """Drop duplicates and contamination, and divide what is left.

    Args:
        prompts: All prompts, as they were loaded.
        config: Section `prompts`.
        root: Folder that the benchmark files' paths start from.
        seed: Seed of the run.

    Returns:
        The splits, and what there is to say of prompts by their place in `prompts`: reason, and what they repeat.

    Raises:
        InputError: a benchmark file is missing or malformed.
        ConfigError: too few prompts are left for the wanted splits.
    """
    remarks: dict[int, dict[str, Any]] = {}
    # A prompt of the test split must win over its copy of another use, wherever the sources stand; an unlabelled one
    # never does, so that how many there are changes nothing of the others.
    order = sorted(range(len(prompts)), key=lambda index: _USE_ORDER[prompts[index].use])
    with Progress("duplicates", total=len(prompts), unit="prompts") as progress:
        for repeat in find_duplicates(
            [compared(prompts[index].prompt) for index in order],
            config.near_duplicate_threshold,
            progress=progress.update,
        ):
            of = prompts[order[repeat.of]]
            remarks[order[repeat.index]] = {
                "reason": "exact_duplicate" if repeat.exact else "near_duplicate",
                "of": {"prompt_id": of.prompt_id, "source": of.source, "row": of.row},
                "similarity": round(repeat.similarity, 4),
            }
    if config.decontaminate:
        _find_contaminated(prompts, remarks, config, root)
    dropped = {index for index, remark in remarks.items() if remark["reason"] != "contaminated_kept"}
    kept = [prompt for index, prompt in enumerate(prompts) if index not in dropped]
    try:
        splits = split_prompts(
            kept,
            seed=seed,
            validation=config.validation,
            test=config.test,
            limit=config.limit,
            unlabelled=config.unlabelled,
        )
    except ConfigError as error:
        reasons = Counter(remarks[index]["reason"] for index in sorted(dropped))
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
        advice = _CONTAMINATED if reasons["contaminated"] else ""
        raise ConfigError(f"{error} Of {len(prompts)} rows were dropped: {why}.{advice}") from error
    return splits, remarks


def _find_contaminated(
    prompts: list[Prompt], remarks: dict[int, dict[str, Any]], config: PromptsConfig, root: Path
) -> None:
    benchmarks = BenchmarkIndex(config.decontaminate, root, config.ngram, mask_numbers=config.mask_numbers)
    with Progress("decontamination", total=len(prompts), unit="prompts") as progress:
        for index, prompt in enumerate(prompts):
            progress.update()
            # the test split may be a benchmark's own questions: nothing is trained or chosen on it
            if index in remarks or prompt.use == "test":
                continue
            overlaps = [
                overlap
                for overlap in benchmarks.overlaps(compared(prompt.prompt))
                if overlap.share > config.max_overlap
            ]
            if overlaps:
                remarks[index] = {
                    "reason": "contaminated" if config.contaminated == "drop" else "contaminated_kept",
                    "overlaps": [{**asdict(overlap), "share": round(overlap.share, 4)} for overlap in overlaps],
                }


def _write(
    folder: Path, prompts: list[Prompt], tables: dict[str, list[Prompt]], remarks: dict[int, dict[str, Any]]
) -> None:
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, some in tables.items():
            rows = [{key: getattr(prompt, key) for key in PROMPTS.names} for prompt in some]
            write_table(temporary / f"{name}.parquet", rows, PROMPTS)
        lines = [
            {
                "prompt_id": prompts[index].prompt_id,
                "source": prompts[index].source,
                "row": prompts[index].row,
                **remarks[index],
                "prompt": prompts[index].prompt,
            }
            for index in remarks
        ]
        write_text(temporary / DROPPED, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _result(prompts: list[Prompt], splits: Splits, remarks: dict[int, dict[str, Any]]) -> PromptsResult:
    reasons = Counter(remark["reason"] for remark in remarks.values())
    kept = [*splits.train, *splits.validation, *splits.test, *splits.unlabelled]
    contamination: dict[str, dict[str, float]] = {}
    for remark in remarks.values():
        for overlap in remark.get("overlaps", ()):
            figures = contamination.setdefault(overlap["file"], {"prompts": 0, "whole": 0, "share_of_loaded": 0.0})
            figures["prompts"] += 1
            figures["whole"] += overlap["share"] == 1
            figures["share_of_loaded"] = figures["prompts"] / len(prompts)
    return PromptsResult(
        loaded=len(prompts),
        train=len(splits.train),
        validation=len(splits.validation),
        test=len(splits.test),
        unlabelled=len(splits.unlabelled),
        unused=splits.unused,
        exact_duplicates=reasons["exact_duplicate"],
        near_duplicates=reasons["near_duplicate"],
        contaminated=reasons["contaminated"] + reasons["contaminated_kept"],
        contaminated_kept=reasons["contaminated_kept"],
        with_answer=sum(prompt.answer is not None for prompt in kept),
        contamination=contamination,
    )
