"""`retort judge` on a file of judgements, as a user runs it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data/alpaca_eval"


def retort(*words):
    return subprocess.run(
        [sys.executable, "-m", "retort", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The 805 comparisons of alpaca-7b, texts replaced by their lengths, and the instructions' difficulties."""
    folder = tmp_path_factory.mktemp("judge")
    with (DATA / "length_control_alpaca-7b.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "annotations.jsonl").open("w") as out:
        for number, row in enumerate(rows):
            texts = {f"output_{k}": "x" * int(row[f"length_{k}"]) for k in (1, 2)}
            out.write(json.dumps({"instruction": str(number), "preference": float(row["preference"]), **texts}) + "\n")
    with (folder / "difficulty.csv").open("w") as out:
        out.write("instruction,difficulty\n")
        out.writelines(f"{number},{row['difficulty']}\n" for number, row in enumerate(rows))
    return folder


def test_published_win_rate_and_a_length_controlled_one_near_the_published(files):
    done = retort("judge", files / "annotations.jsonl", "--difficulty", files / "difficulty.csv", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["win_rate"]["win_rate"] == pytest.approx(2.591450540223603)
    assert found["win_rate"]["standard_error"] == pytest.approx(0.4870855382635108)
    assert found["length_controlled_win_rate"] == pytest.approx(5.875, abs=1.0)
    assert found["bias"]["longer_wins"] > 0.95
    assert found["raw"] == 0


def test_table_for_people_counts_what_was_read():
    done = retort("judge", DATA / "judgements.jsonl")
    assert done.returncode == 0, done.stderr
    # of 17 rows that hold what the judge wrote, one ranks both models first
    assert "read as stored            16   of 17" in done.stdout
    assert "2 without a verdict" in done.stdout
    # without difficulties and anchors there is no length control, and no number that looks like one
    assert "length-controlled          -   not given without --difficulty (lacks difficulty, anchors)" in done.stdout


def test_a_length_controlled_win_rate_says_what_it_lacks(files):
    without = json.loads(retort("judge", files / "annotations.jsonl", "--json").stdout)
    assert (without["length_controlled_win_rate"], without["length_control"]) == (None, None)
    assert without["length_control_lacks"] == ["difficulty", "anchors"]
    words = ["--difficulty", files / "difficulty.csv", "--anchor", files / "annotations.jsonl"]
    assert (
        json.loads(retort("judge", files / "annotations.jsonl", *words, "--json").stdout)["length_control_lacks"] == []
    )
    done = retort("judge", files / "annotations.jsonl", *words[:2])
    assert "without anchors" in next(line for line in done.stdout.splitlines() if line.startswith("length-controlled"))


def test_an_instruction_without_difficulty_is_named(files, tmp_path):
    (tmp_path / "d.csv").write_text("instruction,difficulty\n0,1.0\n")
    done = retort("judge", files / "annotations.jsonl", "--difficulty", tmp_path / "d.csv")
    assert done.returncode == 65
    assert "no difficulty is known for the instruction '1'" in done.stderr
    (tmp_path / "d.csv").write_text("instruction,difficulty\n0,hard\n")
    done = retort("judge", files / "annotations.jsonl", "--difficulty", tmp_path / "d.csv")
    assert "d.csv, row 2: is not a row of instruction and difficulty" in done.stderr
    assert "Traceback" not in done.stderr
