from random import Random

import pytest

from retort.config.data import VotesConfig
from retort.votes.answers import Ballot, Origin
from retort.votes.labels import count_votes


def ballots():
    """A response of `good`, right nine times in ten, and three of `bad`, right two in ten; errors are scattered."""
    rng, found = Random(0), {}
    for number in range(200):
        ballot = Ballot(str(number))
        for model, chance in (("good", 0.9), ("bad", 0.2), ("bad", 0.2), ("bad", 0.2)):
            ballot.answers.append(str(number) if rng.random() < chance else str(1000 + rng.randrange(500)))
            ballot.origins.append(Origin(model, 0.7 if model == "good" else None))
            ballot.mean_logprobs.append(-0.1 if model == "good" else -2.0)
        found[f"p{number}"] = ballot
    return found


def test_accuracy_by_model_and_by_the_temperatures_that_are_known():
    summary = count_votes(ballots(), "number", VotesConfig()).summary
    assert set(summary.sample_accuracy_by_model) == {"good", "bad"}
    assert summary.sample_accuracy_by_temperature == {"0.7": summary.sample_accuracy_by_model["good"]}
    assert summary.sample_accuracy_by_model["good"] > 3 * summary.sample_accuracy_by_model["bad"]
    assert summary.sample_accuracy == pytest.approx(summary.pass_at_k["1"]) == pytest.approx(summary.maj_at_k["1"])


def test_weighing_by_source_or_probability_labels_more_prompts_rightly():
    found = {
        name: count_votes(ballots(), "number", VotesConfig(weights=name)).summary
        for name in ("equal", "source", "logprob")
    }
    right = {name: summary.coverage * summary.accuracy for name, summary in found.items()}
    assert right["source"] > right["equal"]
    assert right["logprob"] > right["equal"]
    weights = found["source"].source_weights
    assert weights["good"] > weights["bad"]
    assert found["equal"].source_weights == {}


def test_given_weights_are_taken():
    config = VotesConfig(weights="source", source_weights={"good": 4.0, "bad": 1.0})
    summary = count_votes(ballots(), "number", config).summary
    # one response of weight 4 outweighs three of weight 1
    assert summary.accuracy == summary.sample_accuracy_by_model["good"]
    assert summary.source_weights == {"good": 4.0, "bad": 1.0}


def test_gold_confidence_is_closer_to_the_truth_than_the_share():
    labels = count_votes(ballots(), "number", VotesConfig(confidence="gold"))
    assert labels.summary.brier["gold"] < labels.summary.brier["share"]
    assert labels.summary.mean_confidence == pytest.approx(labels.summary.accuracy, abs=0.03)


def test_permuting_responses_changes_no_figure():
    forwards, backwards = ballots(), ballots()
    for ballot in backwards.values():
        for values in (ballot.answers, ballot.origins, ballot.mean_logprobs):
            values.reverse()
    for name in ("equal", "source", "logprob"):
        config = VotesConfig(weights=name)
        assert count_votes(forwards, "number", config) == count_votes(backwards, "number", config)


def test_no_gold_answer_leaves_what_needs_none():
    found = ballots()
    for ballot in found.values():
        ballot.gold = None
    summary = count_votes(found, "number", VotesConfig()).summary
    assert summary.accuracy is None
    assert summary.brier == {} == summary.pass_at_k
    assert 0 < summary.mean_confidence < summary.mean_share
