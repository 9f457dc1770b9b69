"""Prompts: every row of every source against what the configuration wants of it, through the stage's own code."""

from __future__ import annotations

from dataclasses import fields, replace

from retort.check.finding import Checked
from retort.config.run import TEACHER
from retort.data.sources import Prompt, load_prompts
from retort.errors import InputError
from retort.evaluation.heldout import with_gold
from retort.io.tables import PROMPTS
from retort.run.embedded import place
from retort.stages.prompts import clean_and_split

_MOST = 30_000
"""Prompts of which near duplicates and contamination are looked for; the stage itself looks through any number."""


def check_prompts(on: Checked) -> None:
    """Read the sources, split them as the stage would, and hold the splits against what later stages need."""
    prompts = _loaded(on)
    if prompts is None:
        return
    config, whole = on.config.prompts, len(prompts) <= _MOST
    if whole:
        files = [str(place(name, on.root)) for name in config.decontaminate]
        config = config.model_copy(update={"decontaminate": files})
    else:
        config = config.model_copy(update={"decontaminate": [], "near_duplicate_threshold": 1.0})
    found = len(on.findings)
    with on.collecting("prompts"):
        splits, remarks = clean_and_split(prompts, config, on.root, seed=on.config.seed)
    if len(on.findings) > found:
        return
    for split in (field.name for field in fields(splits) if field.name != "unused"):
        on.rows[split] = [{key: getattr(one, key) for key in PROMPTS.names} for one in getattr(splits, split)]
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in on.rows.items() if rows)
    dropped = sum(one["reason"] != "contaminated_kept" for one in remarks.values())
    words = f"{len(prompts):,} prompts: {counts}; {dropped:,} dropped"
    on.facts.append(words if whole else f"{words}, before near duplicates and contamination are looked for")
    _gold(on)
    _held_out(on)
    _recorded(on)


def _loaded(on: Checked) -> list[Prompt] | None:
    """All prompts; None where a source is refused. Each is read on its own, so that the faults of all are told."""
    prompts: list[Prompt] = []
    refused = False
    for number, source in enumerate(on.config.prompts.sources):
        here = place(source.path, on.root)
        read = source
        if source.type == "file" or here.exists():
            read = source.model_copy(update={"path": str(here)})
        elif not on.here:
            on.facts.append(
                f"prompts.sources[{number}]: {source.path} is fetched by the cluster and not looked at here"
            )
            refused = True
            continue
        found = len(on.findings)
        with on.collecting(f"prompts.sources[{number}]", passing=source.type == "datasets"):
            some = [replace(one, source=source.path) for one in load_prompts([read], on.root)]
            if not some:
                raise InputError("holds no rows", file=source.path, remedy="Give a file with prompts")
            prompts += some
        refused = refused or len(on.findings) > found
    if refused:
        return None
    found = len(on.findings)
    if len(on.config.prompts.sources) > 1 and any(one.id_field for one in on.config.prompts.sources):
        _check_ids(on, prompts)
    return None if len(on.findings) > found else prompts


def _check_ids(on: Checked, prompts: list[Prompt]) -> None:
    """Two sources may not use one id for two prompts."""
    first: dict[str, Prompt] = {}
    for one in prompts:
        before = first.setdefault(one.prompt_id, one)
        if before.source != one.source and before.prompt != one.prompt:
            on.error(
                "prompts.sources",
                f"{one.source}, row {one.row}: id {one.prompt_id!r} was used before, in {before.source}, row "
                f"{before.row}. Make ids unique, or leave id_field out.",
            )
            return


def _gold(on: Checked) -> None:
    """Held-out prompts need gold answers of the run's kind."""
    for benchmark in on.config.evaluate.benchmarks:
        if benchmark.task == "heldout" and on.config.answer != "open":
            with on.collecting(f"evaluate.benchmarks.{benchmark.name}"):
                asked = with_gold(on.rows["test"], on.config.answer, file="the test split")
                if len(asked) < len(on.rows["test"]):
                    missing = len(on.rows["test"]) - len(asked)
                    on.warn("prompts.test", f"{missing:,} of {len(on.rows['test']):,} test prompts have no gold answer "
                            f"of kind {on.config.answer} and are not asked")  # fmt: skip
            break  # every such benchmark asks the same prompts


def _held_out(on: Checked) -> None:
    """What a reward model is chosen and measured on are halves of the validation prompts."""
    from retort.rewards.learned.halves import held_out_part

    config, halves = on.config, {"select": 0, "gate": 0}
    for row in on.rows["validation"]:
        halves[held_out_part(row["prompt_id"])] += 1
    for name in config.learned_rewards():
        settings = config.reward_settings(name)
        for part, purpose in (("select", "choose its training step by"), ("gate", "measure its gate on")):
            if not halves[part]:
                on.error(
                    "prompts.validation",
                    f"{len(on.rows['validation'])} validation prompts leave none to {purpose} (rewards.{name}). Hold "
                    "more out.",
                )
        if not any(one != TEACHER for one in settings.responses):
            continue
        sampling = config.student_responses
        sampled = sampling.samples * len(sampling.temperatures)
        each = min(sampled, config.reward_data.max_per_prompt or sampled)
        if 0 < halves["gate"] * each < 2 * settings.min_per_class:
            on.error(
                "reward.min_per_class",
                f"the gate of rewards.{name} wants {settings.min_per_class} responses of each label, and can get "
                f"{halves['gate'] * each} in all: {halves['gate']} of {len(on.rows['validation'])} validation prompts "
                f"x {each} responses. Hold more prompts out, keep more responses of each, or lower it.",
            )


def _recorded(on: Checked) -> None:
    """A file of responses must hold some to these prompts."""
    from retort.engines.base import plan_requests
    from retort.engines.make import make_engine

    engine = on.config.models[TEACHER].engine
    if on.teacher_is_asked or not engine.sources():
        return
    key = f"models.{TEACHER}.engine"
    with on.collecting(key):
        made = make_engine(
            engine, on.root, place=key, root=on.root, file="prompts.sources", training=False, store=lambda _: None
        )
        rows = [*on.rows["train"], *on.rows["validation"]]
        asked = plan_requests(rows, on.config.teacher_responses, seed=on.config.seed, stage="teacher_responses")
        count = made.count(asked)
        if not count:
            raise InputError(
                f"holds no response to any of the {len(rows):,} prompts",
                file=", ".join(engine.sources()),
                remedy="Prompts are matched by prompt_id (prompts.sources: id_field), else by their whole text",
            )
        on.facts.append(f"{count:,} recorded responses to {len(rows):,} prompts")
