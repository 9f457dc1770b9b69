"""`retort judge FILE`: what a file of AlpacaEval judgements says, and how far its judge can be trusted."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from retort.judge.alpaca_eval import Judgement
    from retort.judge.comparisons import Bias, PairJudgement, WinRate
    from retort.judge.length_control import LengthControl

_DIFFICULTY = "CSV with columns `instruction` and `difficulty`; without it no length-controlled win rate is given."
_ANCHOR = "Annotations of a model told to be verbose or concise: AlpacaEval 2 fits its length control with two of them."


@dataclass(frozen=True)
class JudgeReport:
    """Everything that `--json` prints."""

    rows: int
    raw: int
    """Rows that hold what the judge wrote."""
    read: int
    """Those in which Retort reads a verdict."""
    agreement: int
    """Those whose verdict, as read, is the stored preference."""
    disagreeing_rows: list[int]
    """Numbers of the others, at most 20."""
    unread: int
    """Rows without a stored preference."""
    win_rate: WinRate
    bias: Bias
    length_control: LengthControl | None
    """None without the instructions' difficulties: length and quality could then hardly be told apart."""
    length_controlled_win_rate: float | None
    length_control_lacks: list[str]
    """What AlpacaEval 2's length control has and this one has not: `difficulty`, `anchors`."""


def judge(
    file: Annotated[Path, typer.Argument(help="An annotations file of AlpacaEval, gzipped or not.")],
    difficulty: Annotated[Path | None, typer.Option(help=_DIFFICULTY)] = None,
    anchor: Annotated[list[Path] | None, typer.Option(help=_ANCHOR)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read judgements of a model against a baseline: win rate, length-controlled too, and the judge's biases."""
    from retort.judge.alpaca_eval import read_judgements

    anchors = [[one.comparison for one in read_judgements(path)] for path in anchor or []]
    report = _report(file, list(read_judgements(file)), _difficulties(difficulty) if difficulty else None, anchors)
    if as_json:
        print(json.dumps(asdict(report), sort_keys=True))
        return
    rate, bias = report.win_rate, report.bias
    print(f"{file.name}: {report.rows} comparisons, {report.unread} without a verdict")
    print(f"win rate            {rate.win_rate:8.4f}   standard error {rate.standard_error:.4f}")
    print(f"wins, losses, draws {rate.wins:8d}   {rate.losses}, {rate.draws}")
    lacks = ", ".join(report.length_control_lacks)
    if report.length_controlled_win_rate is None:
        print(f"length-controlled          -   not given without --difficulty (lacks {lacks})")
    else:
        print(
            f"length-controlled   {report.length_controlled_win_rate:8.4f}" + (f"   without {lacks}" if lacks else "")
        )
    if report.raw:
        print(f"read as stored      {report.agreement:8d}   of {report.raw}")
    if bias.longer_wins is not None:
        print(f"longer one wins     {bias.longer_wins:8.3%}   of {bias.decided} decided")
    if bias.first_wins is not None:
        print(f"first shown wins    {bias.first_wins:8.3%}   of {bias.ordered} whose order is known")


def _report(
    file: Path,
    judgements: list[Judgement],
    difficulties: dict[str, float] | None,
    anchors: list[list[PairJudgement]],
) -> JudgeReport:
    from retort.errors import InputError
    from retort.judge.comparisons import bias, win_rate
    from retort.judge.length_control import difficulties_of, fit_length_control

    comparisons = [one.comparison for one in judgements]
    raw = [one for one in judgements if one.raw]
    try:
        rate = win_rate(comparisons)
        control = fit_length_control(comparisons, difficulties, anchors) if difficulties is not None else None
        controlled = control.win_rate(difficulties_of(comparisons, difficulties)) if control else None
    except ValueError as error:
        remedy = "Give annotations with preferences, and a difficulty for each of their instructions"
        raise InputError(str(error), file=file, field="preference", remedy=remedy) from error
    return JudgeReport(
        rows=len(judgements),
        raw=len(raw),
        read=sum(one.read is not None for one in raw),
        agreement=sum(one.agrees for one in raw),
        disagreeing_rows=[one.row for one in raw if not one.agrees][:20],
        unread=sum(one.preference is None for one in comparisons),
        win_rate=rate,
        bias=bias(comparisons),
        length_control=control,
        length_controlled_win_rate=controlled,
        length_control_lacks=[*(["difficulty"] if difficulties is None else []), *([] if anchors else ["anchors"])],
    )


def _difficulties(path: Path) -> dict[str, float]:
    from retort.errors import InputError

    remedy = "Give a CSV with a header and the columns instruction and difficulty, a number"
    if not path.is_file():
        raise InputError("does not exist", file=path, remedy=remedy)
    found = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                found[row["instruction"]] = float(row["difficulty"])
            except (KeyError, TypeError, ValueError) as error:
                problem = f"is not a row of instruction and difficulty ({error!r})"
                raise InputError(problem, file=path, row=number, remedy=remedy) from error
    return found
