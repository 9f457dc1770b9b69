"""Retort's PPO against TRL 1.12's PPOTrainer: `python -m bench.ppo [--json] [--repeats 3]`.

Both train the same Llama of 6.8 M parameters with random weights (6 layers, hidden size 256, 8,192 tokens, tied,
float32) with the same PPO: rollouts of 64 episodes, 4 to a prompt, 2 epochs of minibatches of 16, AdamW, a critic, a
frozen reference and a frozen reward model of the policy's size, on the same prompts of 24 to 64 tokens. A response ends
with probability 1/45 a token and is cut off at 128: a third of the limit on average, as responses to GSM8K's
questions are. With `--full-length` nine in ten are cut off. Each side runs in a process and an environment of
its own (TRL's is made once in the cache, see bench/trl_environment.py), on two threads, in turns; medians are compared.

- `episodes/s`: episodes of whole iterations over wall time, after one iteration that is not counted.
- `peak memory`: most memory of the process less what it held when the four models were loaded: gradients, optimizer
  states, activations, scores. The whole process's peak, imports included, is given beside it. On a GPU it is torch's.
- shares of the time in generation, scoring (reference, values, rewards) and update.
- `update TFLOP/s`: 6 x parameters of policy and critic for each token that is no padding; on a GPU in the table of
  `retort plan` also as a share of its peak (MFU).

Retort's side also recomputes what TRL does not have: the reward model reads the response's text and the reference's
likelihood of it, the policy's average is kept. TRL's settings are in bench/ppo_trl.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.ppo_work import Work
from bench.surroundings import show, surroundings
from bench.trl_environment import trl_python

SIDES = ("retort", "trl")
SHARES = ("generation", "scoring", "update", "rest")


def main() -> None:
    """Measure both sides and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="processes of each side (default 3)")
    parser.add_argument("--iterations", type=int, default=Work.iterations, help="iterations measured in each")
    parser.add_argument("--threads", type=int, default=Work.threads, help="threads of each (default 2)")
    parser.add_argument("--responses-per-prompt", type=int, default=Work.responses_per_prompt)
    parser.add_argument("--full-length", action="store_true", help="nine in ten responses are cut off")
    parser.add_argument("--large", action="store_true", help="the shape of Qwen2.5-0.5B in bfloat16, for a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    work = Work(
        iterations=arguments.iterations,
        threads=arguments.threads,
        responses_per_prompt=arguments.responses_per_prompt,
    )
    if arguments.large:
        work = large(work)
    if arguments.full_length:
        work = Work(**(asdict(work) | {"mean_response": 1500.0}))
    made = surroundings("torch", "transformers")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(arguments.repeats):
        for side in SIDES:  # in turns, so that a change of the machine's load meets both
            runs[side].append(run(side, work))
    found = {"benchmark": "ppo", "surroundings": made} | compare(runs)
    show(found, ["", "Retort", "TRL 1.12", "ratio"], rows(found), as_json=arguments.json)


def large(work: Work) -> Work:
    """The shape of Qwen2.5-0.5B: what a GPU is for."""
    shape: dict[str, Any] = {"vocabulary": 151_936, "hidden": 896, "layers": 24, "heads": 14, "key_value_heads": 2}
    shape |= {"intermediate": 4864, "dtype": "bfloat16"}
    lengths = {"shortest_prompt": 64, "longest_prompt": 240, "response": 512, "mean_response": 180.0}
    return Work(**(asdict(work) | shape | lengths))


def run(side: str, work: Work) -> dict[str, Any]:
    """One process of one side; its figures."""
    python = {"retort": Path(sys.executable), "trl": trl_python()}[side]
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "work.json"), Path(folder, "out.json")
        given.write_text(json.dumps(asdict(work)), encoding="utf-8")
        command = [str(python), "-m", f"bench.ppo_{side}", str(given), str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(work.threads), "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, stdout=subprocess.DEVNULL, check=True)
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def compare(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side and the ratios of Retort's to TRL's."""
    sides = {side: {**median(figures), "n": len(figures)} for side, figures in runs.items()}
    ours, theirs = sides["retort"], sides["trl"]
    return {
        "work": runs["retort"][0]["work"],
        "device": runs["retort"][0]["device"],
        "episodes_per_s_ratio": ours["episodes_per_s"] / theirs["episodes_per_s"],
        "episodes_per_cpu_s_ratio": ours["episodes_per_cpu_s"] / theirs["episodes_per_cpu_s"],
        "peak_memory_ratio": ours["peak_above_models_mb"] / theirs["peak_above_models_mb"],
        "peak_process_ratio": ours["peak_process_mb"] / theirs["peak_process_mb"],
        **sides,
    }


def median(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median of every number, and the spread of the rate; `share` and other tables entry by entry."""
    found: dict[str, Any] = {"versions": figures[0]["versions"]}
    for name, value in figures[0].items():
        if isinstance(value, dict) and name not in ("work", "versions"):
            found[name] = {key: statistics.median(one[name].get(key, 0.0) for one in figures) for key in value}
        elif isinstance(value, int | float):
            found[name] = statistics.median(one[name] for one in figures)
    rates = [one["episodes_per_s"] for one in figures]
    found["low"], found["high"] = min(rates), max(rates)
    if (peak := _peak_tflops(figures[0]["device"])) and figures[0]["work"]["dtype"] == "bfloat16":
        found["update_mfu"] = found["update_tflops"] / peak
    return found


def _peak_tflops(device: str) -> float | None:
    """Peak in bfloat16 of a GPU of this name, where `retort plan` knows it."""
    from retort.plan.devices import DEVICES

    kinds = [one for one in DEVICES.values() if one.name.partition("-")[0] in device.upper()]
    return kinds[0].bfloat16_tflops if kinds else None


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table's lines."""
    ours, theirs = found["retort"], found["trl"]

    def line(name: str, words: str, ratio: float | None) -> list[str]:
        cells = [words.format(side[name], **side) for side in (ours, theirs)]
        return [*cells, "" if ratio is None else f"{ratio:.2f}"]

    table = [
        ["episodes/s", *line("episodes_per_s", "{:.2f} ({low:.2f} to {high:.2f})", found["episodes_per_s_ratio"])],
        ["episodes per CPU second", *line("episodes_per_cpu_s", "{:.2f}", found["episodes_per_cpu_s_ratio"])],
        ["peak memory above the models, MB", *line("peak_above_models_mb", "{:,.0f}", found["peak_memory_ratio"])],
        ["peak memory of the process, MB", *line("peak_process_mb", "{:,.0f}", found["peak_process_ratio"])],
        ["tokens/s", *line("tokens_per_s", "{:,.0f}", ours["tokens_per_s"] / theirs["tokens_per_s"])],
        ["update TFLOP/s", *line("update_tflops", "{:.3f}", ours["update_tflops"] / theirs["update_tflops"])],
    ]
    if "update_mfu" in ours:
        table.append(["update MFU", *line("update_mfu", "{:.1%}", ours["update_mfu"] / theirs["update_mfu"])])
    for share in SHARES:
        cells = [f"{side['share'].get(share, 0.0):.0%} ({_spent(side, share):.0f} ms)" for side in (ours, theirs)]
        table.append([f"{share}, share (ms an episode)", *cells, ""])
    lengths = [f"{side['tokens_per_episode']['response']:.1f}" for side in (ours, theirs)]
    return [*table, ["response tokens an episode", *lengths, ""]]


def _spent(side: dict[str, Any], share: str) -> float:
    return float(1000 * side["share"].get(share, 0.0) / side["episodes_per_s"])


if __name__ == "__main__":
    main()
