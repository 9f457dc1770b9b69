"""Two models compared item by item."""

from __future__ import annotations

import pytest

from retort.errors import InputError
from retort.evaluation.compare import compare, compare_files
from retort.evaluation.statistics import mcnemar_exact
from retort.io import tables


def results(scores, *, groups=None, answer="4"):
    return [
        {
            "item_id": f"i{place}",
            "group_id": f"g{place if groups is None else groups[place]}",
            "subtask": "gsm8k",
            "question": "2 + 2 ?",
            "answer": answer,
            "response": "",
            "read": "4",
            "score": float(score),
            "correct": score == 1,
            "official": score == 1,
            "harness": {},
            "finish_reason": "stop",
            "prompt_tokens": 1,
            "response_tokens": 1,
        }
        for place, score in enumerate(scores)
    ]


A, B = [1] * 16 + [0] * 6 + [1] * 50, [0] * 16 + [1] * 6 + [1] * 50


def test_single_items_are_compared_by_mcnemar_and_the_paired_bootstrap():
    found = compare(results(A), results(B))
    assert (found.test, found.p_value) == ("mcnemar", mcnemar_exact([x == 1 for x in A], [y == 1 for y in B]))
    assert (found.only_first_right, found.only_second_right) == (16, 6)
    assert found.difference == pytest.approx(10 / 72)
    assert found.low < 10 / 72 < found.high
    assert (found.first.accuracy, found.second.accuracy) == (pytest.approx(66 / 72), pytest.approx(56 / 72))
    # n = 72, d = 22/72: 72.708 x^2 - 2 x 4.6904 x 1.95996 x + 3.1331 x 0.30556 = 0; half of the middle term is 9.1930,
    # x = (9.1930 + sqrt(84.512 - 72.708 x 0.95735)) / 72.708 = (9.1930 + 3.8606) / 72.708 = 0.17953.
    assert found.minimum_detectable_difference == pytest.approx(0.17953, abs=1e-5)


def test_items_of_one_source_are_exchanged_and_resampled_together():
    groups = [place // 8 for place in range(72)]
    apart, together = compare(results(A), results(B)), compare(results(A, groups=groups), results(B, groups=groups))
    assert (together.test, together.groups, together.n) == ("sign_flip", 9, 72)
    assert together.p_value > apart.p_value
    assert together.high - together.low > apart.high - apart.low
    assert together.minimum_detectable_difference > apart.minimum_detectable_difference


def test_only_items_that_both_answered_count():
    found = compare(results(A), results(B[:60]))
    assert (found.n, found.left_out) == (60, 12)


def test_models_that_agree_on_every_item_could_still_differ():
    found = compare(results(A), results(A))
    assert (found.difference, found.p_value) == (0, 1.0)
    assert found.minimum_detectable_difference > 0


def test_files_of_different_data_are_refused(tmp_path):
    one, two = tmp_path / "a.parquet", tmp_path / "b.parquet"
    tables.write_table(one, results([1, 0]), tables.RESULTS)
    tables.write_table(two, results([1, 0], answer="5"), tables.RESULTS)
    with pytest.raises(InputError, match=r"b.parquet, row 1, field 'answer': item 'i0' has another gold answer"):
        compare_files(one, two)
    rows = [row | {"item_id": f"other-{row['item_id']}"} for row in results([1, 0])]
    tables.write_table(two, rows, tables.RESULTS)
    with pytest.raises(InputError, match=r"b.parquet, field 'item_id': has no item in common with .*a.parquet"):
        compare_files(one, two)
    with pytest.raises(InputError, match=r"c.parquet: does not exist"):
        compare_files(one, tmp_path / "c.parquet")
