"""Judging open-ended responses in a stage: the part that `votes`, `reward_data` and `ppo` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retort.errors import ConfigError, InputError
from retort.io.tables import (
    JUDGE_CALLS,
    JUDGEMENTS,
    PROMPTS,
    RESPONSES,
    VOTES,
    Rows,
    read_columns,
    read_tables,
    write_table,
)
from retort.judge.ask import Judge, Pair, Record, Single
from retort.judge.comparisons import bias
from retort.judge.elect import Elected, OpenPrompt, elect_responses
from retort.judge.make import judge_engine
from retort.modeling.conversations import shown
from retort.run.stage import Context
from retort.stages.enough_labels import check_labels
from retort.text.finish_reasons import whole_text


@dataclass(frozen=True)
class JudgeFigures:
    """How far the judge can be trusted, as far as that shows without gold."""

    judge: str
    method: str
    calls: int
    """Judgements asked for."""
    unread_share: float
    """Share of them that did not end in a verdict."""
    pairs: int
    swayed_share: float | None
    """Share of pairs with a verdict in both orders on which the two contradict each other."""
    first_wins: float | None
    """Share of decided verdicts that prefer the response shown first; each pair is shown in both orders, so a judge
    that order does not sway has 1/2."""
    longer_wins: float | None
    """Share of decided verdicts on texts of different length that prefer the longer one."""
    prompt_tokens: int
    response_tokens: int


@dataclass(frozen=True)
class JudgeSummary:
    """Metrics of `votes` where a judge elected the labels."""

    prompts: int
    responses: int
    prompts_without_responses: int
    coverage: float
    """Share of prompts that have a label."""
    abstained: int
    mean_share: float
    """Mean share of the elected response: of its comparisons won, or of the responses that pass the rubric."""
    mean_score: float | None
    """Mean score of all judged responses: the share of comparisons won, or the grade."""
    agreeing_share: float
    """Share of different responses that may be learned from."""
    figures: JudgeFigures


@contextmanager
def judging(context: Context, *, seed: int | None = None) -> Iterator[Judge]:
    """The configured judge, its engine started.

    Args:
        context: The stage's.
        seed: Seed for a judge that samples; the run's where left out.

    Raises:
        ConfigError: there is no judge, or its folder does not exist.
        ModelError: its model cannot be used.
        InputError: its file of recorded judgements is missing or malformed.
    """
    config = context.config.judge
    if config is None:
        raise ConfigError("answer: open needs a judge. Name one in the section judge.")
    with judge_engine(config, context.paths.root, store=context.store) as engine:
        yield Judge(engine, config, context.state(), seed=context.config.seed if seed is None else seed)


def elect_labels(context: Context) -> JudgeSummary:
    """Have the teacher's responses judged; writes the votes, the judgements and what the judge was asked and said.

    Raises:
        InputError: an input table is missing or malformed, a response belongs to no prompt, or no label was elected,
            or too few (`enough_labels`).
        EngineError: the judge's engine failed after its own retries; run the stage again.
    """
    prompts = _prompts(context)
    with judging(context) as judge:
        elected = elect_responses(judge, prompts, context.config.votes)
        figures = figures_of(judge)
    if all(one.vote.abstained for one in elected):
        raise InputError(_why_nobody(elected, figures), file=context.paths.votes, remedy=_REMEDY)
    check_labels(
        context,
        {prompt.prompt_id for prompt, one in zip(prompts, elected, strict=True) if not one.vote.abstained},
    )
    rows = {row["prompt_id"]: row for row in _all_prompts(context)}
    votes = [
        _vote_row(prompt, one, rows[prompt.prompt_id]["answer"]) for prompt, one in zip(prompts, elected, strict=True)
    ]
    write_table(context.paths.votes, votes, VOTES)
    write_table(context.paths.judgements, _judgement_rows(prompts, elected), JUDGEMENTS)
    write_calls(context.paths.votes.with_name("calls.parquet"), judge.record)
    return _summary(prompts, elected, figures)


def judge_rows(context: Context, rows: Rows) -> Rows:
    """Score the results of open-ended held-out prompts by the judge.

    Pairwise, against the reference that stands as gold answer: 1 where the response is better, 0.5 for a tie and where
    the judge does not decide (`read` is null), 0 where it is worse. By rubric: whether the grade passes.
    """
    # Seed 0: an evaluation is the same in every run.
    with judging(context, seed=0) as judge:
        if judge.config.method == "rubric":
            grades = judge.grade([Single(row["item_id"], row["question"], row["response"]) for row in rows])
            found = [None if one is None else float(one >= judge.config.threshold) for one in grades]
        else:
            found = judge.compare([Pair(r["item_id"], r["question"], r["response"], r["answer"]) for r in rows])
    unread = 0.0 if judge.config.method == "rubric" else 0.5
    return [
        row
        | {
            "read": None if one is None else f"{one:g}",
            "score": unread if one is None else one,
            "correct": one is not None and one >= 0.5,
            "official": one is not None and one >= 0.5,
        }
        for row, one in zip(rows, found, strict=True)
    ]


def figures_of(judge: Judge) -> JudgeFigures:
    """What the judge has shown of itself so far."""
    record, engine = judge.record, judge.engine
    swaying, read = bias(record.comparisons), [call for call in record.calls if call.verdict is not None]
    tokens = record.tokens
    return JudgeFigures(
        judge=engine.model,
        method=judge.config.method,
        calls=len(record.calls),
        unread_share=1 - len(read) / len(record.calls) if record.calls else 0.0,
        pairs=record.pairs,
        swayed_share=record.swayed / record.read_both if record.read_both else None,
        first_wins=swaying.first_wins,
        longer_wins=swaying.longer_wins,
        prompt_tokens=tokens["prompt"],
        response_tokens=tokens["response"],
    )


def write_calls(path: Path, record: Record) -> None:
    """Write everything that the judge was asked; a later run can be given the file as recorded judgements."""
    rows = {
        (call.call_id, call.output): {
            "prompt_id": call.call_id,
            "item": call.prompt_id,
            "prompt": call.prompt,
            "response": call.output,
            "verdict": call.verdict,
        }
        for call in record.calls
        if call.output is not None
    }
    write_table(path, list(rows.values()), JUDGE_CALLS)


def _all_prompts(context: Context) -> Rows:
    return read_tables([context.paths.prompts(split) for split in ("train", "validation")], PROMPTS)


def _prompts(context: Context) -> list[OpenPrompt]:
    rows = _all_prompts(context)
    responses: dict[str, list[str]] = {row["prompt_id"]: [] for row in rows}
    for shard in context.config.teacher_responses.shards:
        path, number = context.paths.responses("teacher", shard), 0
        for batch in read_columns(path, RESPONSES, columns=["prompt_id", "response", "finish_reason"]):
            for prompt_id, response, reason in zip(*batch.values(), strict=True):
                number += 1
                if prompt_id not in responses:
                    raise InputError(
                        f"{prompt_id!r} is no train or validation prompt",
                        file=path,
                        row=number,
                        field="prompt_id",
                        remedy="The responses belong to other prompts: run teacher_responses again",
                    )
                # One that is not whole could win, but nothing may be learned from it.
                responses[prompt_id].append(whole_text(response, reason))
    return [OpenPrompt(row["prompt_id"], shown(row["prompt"]), responses[row["prompt_id"]]) for row in rows]


def _vote_row(prompt: OpenPrompt, elected: Elected, reference: str | None) -> dict[str, object]:
    vote = elected.vote
    return {
        "prompt_id": prompt.prompt_id,
        "label": vote.label,
        "votes": vote.votes,
        "total": vote.total,
        "share": vote.share,
        "margin": vote.margin,
        "abstained": vote.abstained,
        "confidence": None,
        "answer": reference,
        "correct": None,
    }


def _judgement_rows(prompts: Sequence[OpenPrompt], elected: Sequence[Elected]) -> Rows:
    return [
        {"prompt_id": prompt.prompt_id, "response": text, "score": score, "agrees": one.agrees[text]}
        for prompt, one in zip(prompts, elected, strict=True)
        for text, score in one.scores.items()
    ]


_REMEDY = (
    "A judge that cannot repeat codes may be given judge.coded: false, one that is cut off more judge.max_new_tokens; "
    "else lower judge.threshold, votes.min_share and votes.min_margin, or use a better judge"
)


def _why_nobody(elected: Sequence[Elected], figures: JudgeFigures) -> str:
    swayed = "" if figures.swayed_share is None else f", and {figures.swayed_share:.0%} of pairs change with the order"
    return (
        f"the judge elects no response to any of the {len(elected)} prompts, so nothing could be trained: "
        f"{figures.unread_share:.0%} of its {figures.calls} judgements do not end in a verdict{swayed}"
    )


def _summary(prompts: Sequence[OpenPrompt], elected: Sequence[Elected], figures: JudgeFigures) -> JudgeSummary:
    scores = [score for one in elected for score in one.scores.values() if score is not None]
    agrees = [agrees for one in elected for agrees in one.agrees.values()]
    abstained = sum(one.vote.abstained for one in elected)
    return JudgeSummary(
        prompts=len(prompts),
        responses=sum(len(prompt.responses) for prompt in prompts),
        prompts_without_responses=sum(not prompt.responses for prompt in prompts),
        coverage=1 - abstained / len(prompts),
        abstained=abstained,
        mean_share=sum(one.vote.share for one in elected) / len(elected),
        mean_score=sum(scores) / len(scores) if scores else None,
        agreeing_share=sum(one is True for one in agrees) / len(agrees),
        figures=figures,
    )
