"""The benchmarks measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import sampler

ROOT = Path(__file__).parents[2]


def test_both_samplers_write_responses_of_the_length_that_the_case_says():
    # A response ends with probability 1/4 a token, at most after 6: 4 x (1 - 0.75**6) = 3.29 tokens on average; the
    # standard error over 256 responses is below 1.9 / 16 = 0.12.
    model = sampler.make_model(1 / 4)
    prompts = [[2 + number % 5, 7, 8][: 1 + number % 3] for number in range(256)]
    for side in (sampler._retort, sampler._generate):
        assert side(model, prompts, 0, 6) / 256 == pytest.approx(3.29, abs=0.5)


def test_the_vote_benchmark_reports_time_memory_and_differing_labels():
    done = subprocess.run(
        [sys.executable, "-m", "bench.vote", "--prompts", "40", "--responses", "16", "--shards", "2", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["prompts"] * found["responses"] == 640
    # six in ten of 16 agree: no other number comes near, but the plain way counts "1,234", "1234" and "1234.00" apart
    assert 0 <= found["labels_that_differ"]["exact"] <= 12
    assert found["labels_that_differ"]["careful"] == 0
    assert found["retort"]["seconds"] > found["exact_strings"]["seconds"] > 0
    assert found["retort"]["peak_mb"] > 20
    assert found["surroundings"]["commit"]
