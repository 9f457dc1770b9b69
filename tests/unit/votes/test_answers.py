import json
from functools import partial

import pytest

from retort.benchmarks.recorded import collect_recorded
from retort.config.data import VotesConfig
from retort.errors import InputError
from retort.text.extract import read_answer
from retort.votes.answers import Ballot, Batch, Counts, Origin, collect
from retort.votes.labels import count_votes

READ = partial(read_answer, kind="number")


def batches(count=6):
    for number in range(count):
        texts = [f"#### {number % 3}", "nothing", f"So it is $\\boxed{{{number}}}$"]
        yield Batch([f"p{number % 2}"] * 3, [Origin("m", 0.5)] * 3, texts)


def collected(workers):
    ballots, counts = {"p0": Ballot(), "p1": Ballot()}, Counts()
    for _, read in collect(batches(), ballots, READ, workers=workers):
        counts += read
    return ballots, counts


def test_several_processes_collect_what_one_does():
    ballots, counts = collected(workers=1)
    assert ballots["p0"].answers == ["0", None, "0", "2", None, "2", "1", None, "4"]
    assert counts.rules == {"hash": 6, "boxed": 6}
    assert collected(workers=2) == (ballots, counts)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_not_whole_has_no_vote_and_is_counted_by_its_reason(workers, caplog):
    def some():
        reasons = ["stop", "length", "content_filter", "unknown", "not_recorded"]
        for _ in range(4):
            yield Batch(["p"] * 5, [Origin("m")] * 5, [f"#### {n}" for n in range(5)], None, reasons)

    found, counts = {"p": Ballot()}, Counts()
    for _, read in collect(some(), found, READ, workers=workers):
        counts += read
    assert found["p"].answers == ["0", None, None, None, "4"] * 4
    assert counts.not_whole == {"length": 4, "content_filter": 4, "unknown": 4}
    assert counts.not_recorded == 4
    counts.warn()
    assert "12 responses are not whole and have no vote: content_filter 4, length 4, unknown 4" in caplog.text
    assert "neither an end nor a limit: content_filter, unknown" in caplog.text


def test_an_error_in_the_source_of_batches_ends_the_processes():
    def broken():
        yield from batches(4)
        raise InputError("is broken", file="f", remedy="Mend it")

    with pytest.raises(InputError, match="is broken"):
        list(collect(broken(), {"p0": Ballot(), "p1": Ballot()}, READ, workers=2))


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_letters_beyond_the_options_are_no_answers(tmp_path):
    row = {"question_id": 1, "options": ["x", "y"], "answer": "A", "model_output": "The answer is (C)."}
    file = written(tmp_path / "m.jsonl", [row, {**row, "model_output": "The answer is (A)."}])
    (ballot,) = collect_recorded("mmlu_pro", [file], Counts()).values()
    assert ballot.answers == [None, "A"]


def test_files_vote_together_unless_their_question_was_revised(tmp_path):
    row = {"question_id": 1, "options": ["x", "y"], "answer": "A", "model_output": "The answer is (A)."}
    files = [
        written(tmp_path / "one.jsonl", [row]),
        written(tmp_path / "two.jsonl", [row]),
        written(tmp_path / "revised.jsonl", [{**row, "answer": "B"}]),
    ]
    ballots = list(collect_recorded("mmlu_pro", files, Counts()).values())
    assert [[origin.model for origin in ballot.origins] for ballot in ballots] == [
        ["one.jsonl", "two.jsonl"],
        ["revised.jsonl"],
    ]


def test_saying_that_there_is_no_answer_is_a_vote(tmp_path):
    rows = [
        {"question": "q", "answer": "None", "response": text}
        for text in ("It is not possible to determine this.", "The answer is None.", "#### 4")
    ]
    ballots = collect_recorded("gsm_plus", [written(tmp_path / "g.jsonl", rows)], Counts())
    labels = count_votes(ballots, "number", VotesConfig())
    assert (labels.votes[0].label, labels.correct) == ("None", [True])


def test_a_row_without_gold_names_file_row_and_field(tmp_path):
    file = written(tmp_path / "g.jsonl", [{"question": "q", "response": "#### 4"}])
    with pytest.raises(InputError, match=r"g.jsonl, row 1, field 'answer': there is no gold answer"):
        collect_recorded("gsm8k", [file], Counts())
