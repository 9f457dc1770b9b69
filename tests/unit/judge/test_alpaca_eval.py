import csv
import json
from pathlib import Path

import pytest

from retort.errors import InputError
from retort.judge.alpaca_eval import first_token_preference, read_judgements, read_ranking
from retort.judge.comparisons import PairJudgement, bias, win_rate
from retort.judge.length_control import LengthControl, fit_length_control

DATA = Path(__file__).parents[2] / "data/alpaca_eval"


def test_judgements_are_read_as_the_official_ranking_has_them():
    found = list(read_judgements(DATA / "judgements.jsonl"))
    by_annotator = {
        name: [one for one in found if one.annotator == name and one.raw] for name in {o.annotator for o in found}
    }
    function = by_annotator["alpaca_eval_cot_gpt4_turbo_fn"]
    (undecided,) = [one for one in function if not one.agrees]
    # the judge ranked both first; upstream took that for a victory of the baseline
    assert (undecided.read, undecided.comparison.preference) == (None, 0.0)
    assert len(function) == 8
    assert {one.comparison.first_shown for one in function} == {1, 2}
    weighted = by_annotator["weighted_alpaca_eval_gpt4_turbo"]
    assert len(weighted) == 9
    assert all(one.agrees for one in weighted)


def test_draws_and_missing_verdicts_are_kept_apart():
    plain = [one for one in read_judgements(DATA / "judgements.jsonl") if one.annotator == "alpaca_eval_gpt4"]
    assert [one.comparison.preference for one in plain].count(None) == 2
    assert [one.comparison.preference for one in plain].count(0.5) == 2


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]", 1.0),
        ('[{"model": "model_1", "rank": 1}, {"model": "model_2", "rank": 2}]', 0.0),
        ([{"model": "model_2", "rank": "1"}, {"model": "model_1", "rank": "2"}], 1.0),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': 3}, {'model': 'model_2', 'rank': 1}]", None),
        ("model_1 is better", None),
        ("__import__('os').system('true')", None),
        ("[" * 15_000, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_rankings(raw, read):
    assert read_ranking(raw, "model_1", "model_2") == read


def test_soft_preferences_are_the_two_tokens_share():
    tokens = [{"token": "m", "logprob": -0.5}, {"token": "M", "logprob": -1.5}, {"token": "The", "logprob": -9}]
    # exp(-0.5) / (exp(-0.5) + exp(-1.5)) = 1 / (1 + exp(-1))
    assert first_token_preference(tokens) == pytest.approx(0.7310585786)
    assert first_token_preference([{"token": "The", "logprob": 0.0}]) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output_2": None}, "field 'output_2': is missing"),
        ({"preference": 3}, "field 'preference': is 3, neither 0"),
        ({"preference": "1"}, "field 'preference': is '1', neither 0"),
    ],
)
def test_a_bad_row_names_itself(tmp_path, change, words):
    row = {"instruction": "i", "output_1": "a", "output_2": "b", "annotator": "x", "preference": 1}
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | change))
    with pytest.raises(InputError, match=f"f.jsonl, row 2, {words}"):
        list(read_judgements(tmp_path / "f.jsonl"))


def comparison(preference, one="a", two="bb", first=None):
    return PairJudgement("i", one, two, preference, first)


def test_win_rate_counts_draws_half_and_leaves_missing_verdicts_out():
    found = win_rate([comparison(one) for one in (1, 1, 0.5, 0, None)])
    # (1 + 1 + 1/2 + 0) / 4; variance of those over 3 is 0.2292, so the standard error is sqrt(0.2292 / 4)
    assert (found.n, found.win_rate, found.wins, found.losses, found.draws) == (4, 62.5, 2, 1, 1)
    assert found.standard_error == pytest.approx(23.936, abs=1e-3)
    with pytest.raises(ValueError, match="no comparison"):
        win_rate([comparison(None)])


def test_bias_figures():
    rows = [
        comparison(1, "a", "bb", first=1),  # longer wins, second wins
        comparison(0, "a", "bb", first=2),  # shorter wins, second wins
        comparison(0.9, "a", "b", first=2),  # as long, first wins
        comparison(0.5, "a", "bb", first=1),
        comparison(None, "a", "bb", first=1),
    ]
    found = bias(rows)
    assert (found.decided, found.longer_wins, found.ordered, found.first_wins) == (3, 0.5, 3, 1 / 3)


def alpaca():
    with (DATA / "length_control_alpaca-7b.csv").open() as file:
        rows = list(csv.DictReader(file))
    comparisons = [
        PairJudgement(str(n), "x" * int(row["length_1"]), "x" * int(row["length_2"]), float(row["preference"]) - 1)
        for n, row in enumerate(rows)
    ]
    return comparisons, {str(n): float(row["difficulty"]) for n, row in enumerate(rows)}


def test_published_coefficients_give_the_published_length_controlled_win_rate():
    comparisons, difficulties = alpaca()
    assert win_rate(comparisons).win_rate == pytest.approx(2.591450540223603, abs=1e-9)
    published = LengthControl(-2.2067864500930003, 0.9859274836495522, -3.6907417919074890)
    assert published.win_rate(list(difficulties.values())) == pytest.approx(5.875487163278986, abs=1e-6)


def test_our_fit_without_the_anchors_is_near_the_published_one():
    comparisons, difficulties = alpaca()
    found = fit_length_control(comparisons, difficulties)
    assert found.length < 0 < found.difficulty
    assert found.win_rate(list(difficulties.values())) == pytest.approx(5.875, abs=1.0)


def made_up(n=600, *, length, quality):
    """Comparisons of a judge that follows the model exactly, by soft preferences."""
    from math import exp, tanh
    from statistics import stdev

    gaps = [(number * 37) % 101 - 30 for number in range(n)]
    spread, rows = stdev(gaps), []
    for number, gap in enumerate(gaps):
        p = 1 / (1 + exp(-(length * tanh(gap / spread) + 0.8 * (number % 7 - 3) + quality)))
        rows.append(PairJudgement(str(number), "x" * (100 + gap), "x" * 100, p))
    return rows, {str(number): float(number % 7 - 3) for number in range(n)}


def test_a_judge_that_follows_the_model_is_recovered():
    rows, difficulties = made_up(length=-1.5, quality=0.4)
    found = fit_length_control(rows, difficulties)
    assert (found.length, found.difficulty, found.quality) == pytest.approx((-1.5, 0.8, 0.4), abs=0.02)


def test_anchors_share_length_and_not_quality():
    rows, difficulties = made_up(length=-1.5, quality=0.4)
    anchor, _ = made_up(length=-3.0, quality=-2.0)
    free, anchored = fit_length_control(rows, difficulties), fit_length_control(rows, difficulties, [anchor, anchor])
    assert anchored.length < free.length - 0.05


def test_too_few_verdicts_or_an_unknown_instruction_are_refused():
    rows, difficulties = made_up(length=-1.0, quality=0.0)
    with pytest.raises(ValueError, match="2 comparisons have a verdict"):
        fit_length_control(rows[:2], difficulties)
    with pytest.raises(ValueError, match="no difficulty is known for the instruction '5'"):
        fit_length_control(rows, {key: value for key, value in difficulties.items() if key != "5"})
