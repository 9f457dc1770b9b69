"""The benchmarks measure what they say."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import claim, generate, ppo, sampler
from bench.ppo_work import Work
from retort.config import load_config

ROOT = Path(__file__).parents[2]


def test_both_samplers_write_responses_of_the_length_that_the_case_says():
    # A response ends with probability 1/4 a token, at most after 6: 4 x (1 - 0.75**6) = 3.29 tokens on average; the
    # standard error over 256 responses is below 1.9 / 16 = 0.12.
    model = sampler.make_model(1 / 4)
    prompts = [[2 + number % 5, 7, 8][: 1 + number % 3] for number in range(256)]
    for side in (sampler._retort, sampler._generate):
        assert side(model, prompts, 0, 6) / 256 == pytest.approx(3.29, abs=0.5)


def generation(monkeypatch, **given):
    """`bench.generate` with a model of a few thousand parameters."""
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    monkeypatch.setattr(generate, "SHAPE", generate.SHAPE | small | {"num_key_value_heads": 4, "vocab_size": 256})
    monkeypatch.setattr(generate, "NEW_TOKENS", 12)
    monkeypatch.setattr(generate, "END_PROBABILITY", 1 / 4)
    defaults = {"prompts": 32, "samples": 4, "rows": 32, "repeats": 1, "limit": 60, "model": None, "vllm": None}
    return generate.measure(argparse.Namespace(**defaults | {"sides": "retort,generate"} | given))


def test_every_way_to_generate_answers_the_same_requests_at_the_same_lengths(monkeypatch):
    found = generation(monkeypatch)
    # A response ends with probability 1/4 a token, at most after 12: 4 x (1 - 0.75**12) = 3.87; 0.27 is the standard
    # error over 128 responses of deviation 3.
    for side in found["sides"].values():
        assert side["mean_length"] == pytest.approx(3.87, abs=0.9)
        assert side["tokens"] == pytest.approx(128 * side["mean_length"])
        assert side["deviation_of_length"] > 2
    rates = {name: side["tokens_per_cpu_s"] for name, side in found["sides"].items()}
    assert found["tokens_per_s_ratio"] == rates["retort"] / rates["generate"]


def test_a_way_to_generate_that_fails_or_takes_too_long_is_said(monkeypatch):
    def fails(work, seed):
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(generate, "continuous_side", fails)
    monkeypatch.setattr(generate, "generate_side", spin)
    found = generation(monkeypatch, sides="retort,generate,continuous", limit=1)["sides"]
    assert found["generate"]["why"] == "not done after 1 CPU s"
    assert found["continuous"]["why"] == "failed: no kernel for this device"


def spin(work, seed):
    while len(work.prompts) > 1:  # all but what is done once a process
        pass
    return [1]


def test_less_than_a_tick_of_processor_time_is_no_failure():
    work, arguments = generate.Work(None, [[1]], ["a"], [2], 0, 1), argparse.Namespace(limit=60, repeats=1)
    found = generate._measured("vllm", lambda _work, _seed: [3, 4], lambda: 7.0, work, arguments)
    assert found["tokens_per_cpu_s"] == pytest.approx(7 / generate.TICK_S)


def test_vllm_s_processor_time_is_that_of_the_server(monkeypatch, tmp_path, tiny_model_folder):
    program = tmp_path / "vllm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests/vllm_stand_in.py"} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("STATE", str(tmp_path))
    sides = {"sides": "retort", "model": tiny_model_folder(), "vllm": str(program)}
    found = generation(monkeypatch, prompts=4, samples=2, **sides)["sides"]
    assert "why" not in found["vllm"], found
    assert found["vllm"]["tokens"] == 8 * 2  # the stand-in writes two tokens
    assert found["vllm"]["tokens_per_cpu_s"] > 0


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


def test_ppo_s_side_counts_every_token_and_drops_the_first_iteration(tmp_path):
    # Responses end at 1 in 5 a token, at most after 8: 5 x (1 - 0.8**8) = 4.16 tokens on average, +- 0.2 over 128.
    work = Work(vocabulary=64, hidden=32, layers=1, intermediate=64, rows=64, minibatch=16, iterations=2, threads=1)
    work = replace(work, response=8, mean_response=5.0, shortest_prompt=3, longest_prompt=5, epochs=1)
    (tmp_path / "work.json").write_text(json.dumps(asdict(work)))
    command = [sys.executable, "-m", "bench.ppo_retort", str(tmp_path / "work.json"), str(tmp_path / "out.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["episodes"] == 128
    assert found["tokens_per_episode"]["response"] == pytest.approx(4.16, abs=0.8)
    assert 3 <= found["tokens_per_episode"]["prompt"] <= 5
    assert sum(found["share"].values()) == pytest.approx(1)
    assert min(found["share"][name] for name in ("generation", "scoring", "update")) > 0
    assert found["episodes_per_s"] == pytest.approx(128 / found["seconds"])


def figures(rate, peak):
    return {
        "work": {"dtype": "float32"},
        "device": "cpu",
        "versions": {},
        "episodes_per_s": rate,
        "episodes_per_cpu_s": rate / 2,
        "peak_above_models_mb": peak,
        "peak_process_mb": peak + 100,
        "tokens_per_s": 10 * rate,
        "update_tflops": 0.1,
        "share": {"generation": 0.5, "scoring": 0.1, "update": 0.4},
        "tokens_per_episode": {"response": 42.0},
    }


def test_ppo_s_ratios_are_of_medians_and_the_table_says_both_sides():
    runs = {"retort": [figures(rate, 100) for rate in (6.0, 9.0, 5.0)], "trl": [figures(2.0, 400)] * 3}
    found = ppo.compare(runs)
    assert (found["episodes_per_s_ratio"], found["peak_memory_ratio"]) == (3.0, 0.25)
    assert found["retort"]["n"] == 3
    table = {row[0]: row[1:] for row in ppo.rows(found)}
    assert table["episodes/s"] == ["6.00 (5.00 to 9.00)", "2.00 (2.00 to 2.00)", "3.00"]
    assert table["update, share (ms an episode)"][:2] == ["40% (67 ms)", "40% (200 ms)"]


def test_the_claim_s_columns_are_the_configuration_s_models_and_the_pairs_of_its_result(monkeypatch):
    monkeypatch.setattr(claim, "commit", lambda: "abc1234")
    config = load_config(Path("demo"), changes=claim.changes(0))
    score = {"accuracy": 0.5, "n": 2400}
    pair = {"difference": 0.04, "low": 0.026, "high": -0.001}
    models = {name: score | {"accuracy": place / 10} for place, name in enumerate(config.evaluated(), 1)}
    tables = {one.name: {"models": models, "paired": {"ppo_minus_sft": pair}} for one in config.evaluate.benchmarks}
    shut = {one.name: {"models": {"sft": score}, "paired": {}} for one in config.evaluate.benchmarks}
    runs = {
        0: {"models": models, "benchmarks": tables, "notices": []},
        3: {"models": {"sft": score}, "benchmarks": shut, "notices": ["PPO was skipped."]},
    }
    lines = claim.markdown(runs, config).splitlines()
    assert lines[0].startswith("Accuracy on 2,400 held-out problems of the embedded task, 2 seeds of the pipeline")
    assert "'SFT, equal compute' is given PPO's compute as well. " in lines[0]
    assert lines[2] == "Sampled at temperature 1:"
    assert lines[4] == (
        "| seed | teacher | base | SFT | **PPO** | SFT, equal compute | PPO − base | PPO − SFT | PPO − teacher | "
        "PPO − SFT, equal compute |"
    )
    first = "| 0 | 10.0 % | 20.0 % | 30.0 % | **40.0 %** | 50.0 % | – | +4.0 [+2.6, -0.1] | – | – |"
    assert lines[6] == first
    assert lines[7] == "| 3 | – | – | 50.0 % | **–** | – | – | – | – | – |"
    assert lines.count(first) == 2
    assert "Greedy:" in lines
    assert lines[-1] == "- Seed 3: PPO was skipped."


def test_the_readme_has_the_means_over_the_seeds_that_have_a_result(monkeypatch):
    monkeypatch.setattr(claim, "commit", lambda: "abc1234")
    config = load_config(Path("demo"), changes=claim.changes(0))
    names = [one.name for one in config.evaluate.benchmarks]

    def metrics(accuracy, **pairs):
        paired = {name: dict(zip(("difference", "low", "high"), ends, strict=True)) for name, ends in pairs.items()}
        models = {"sft": {"n": 2400}} | ({"ppo": {"accuracy": accuracy}} if accuracy else {})
        return {"models": models, "benchmarks": {name: {"models": models, "paired": paired} for name in names}}

    runs = {
        0: metrics(0.88, ppo_minus_sft=(0.04, 0.026, 0.053), ppo_minus_teacher=(0.26, 0.24, 0.28)),
        1: metrics(0.90, ppo_minus_sft=(0.05, 0.037, 0.064), ppo_minus_teacher=(0.25, 0.23, 0.27)),
        2: metrics(None),
    }
    lines = claim.summary(runs, config).splitlines()
    assert lines[0].startswith("Mean of 3 seeds on 2,400 held-out problems")
    assert lines[2] == "|  | PPO | PPO − SFT | PPO − SFT, equal compute | PPO − teacher |"
    # (0.88 + 0.90) / 2, (0.04 + 0.05) / 2 and (0.26 + 0.25) / 2; nothing compares PPO with the baseline here
    row = "89.0 % (2 of 3 seeds) | +4.5 [+2.6, +6.4] | – | +25.5 [+23.0, +28.0] |"
    assert lines[4:] == [f"| sampled at temperature 1 | {row}", f"| greedy | {row}"]


def test_the_scale_benchmark_runs_the_stages_and_says_how_time_grew():
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", "--prompts", "60", "120", "--shards", "2", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = json.loads(done.stdout)["sizes"]
    assert (first["prompts"], second["prompts"]) == (60, 120)
    for size in (first, second):
        assert set(size["stages"]) == {"prompts", "ballots", "votes", "reward_examples", "reward_data"}
        assert all(one["seconds"] > 0 and one["peak_mb"] > 0 for one in size["stages"].values())
