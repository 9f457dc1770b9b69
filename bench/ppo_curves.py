"""Learning curves of Retort's PPO and TRL 1.12's: `python -m bench.ppo_curves [--seeds 0 1 2] [--svg FILE]`.

The task, model (0.1 M parameters, random weights) and settings are those of bench/ppo_curves_side.py, the same on both
sides: 40 iterations of 64 episodes, 2 epochs of minibatches of 16, AdamW at 3e-3 decaying linearly, KL coefficient 0.02
(k1), clip 0.2, GAE with lambda 0.95, whitened advantages. What differs is what the trainers do not let one set:
Retort's critic begins at value 0 and has a head of its own, TRL's is a linear layer; Adam's second beta is 0.99 and
0.999; which responses are sampled, and in which order prompts are drawn.
Prints the mean reward of the last ten iterations and draws the curves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.surroundings import show, surroundings
from bench.trl_environment import trl_python

NAMES = {"retort": "Retort", "trl": "TRL 1.12"}
LAST = 10


def main() -> None:
    """Train both with every seed, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--svg", type=Path, help="draw the curves into this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    curves = {side: [train(side, seed) for seed in arguments.seeds] for side in NAMES}
    if arguments.svg:
        draw(curves, arguments.svg)
    found = {"benchmark": "ppo_curves", "surroundings": surroundings("torch", "transformers"), "curves": curves}
    rows = []
    for side, of_seeds in curves.items():
        ends = [statistics.mean(curve[-LAST:]) for curve in of_seeds]
        half = [next((step for step, reward in enumerate(curve) if reward >= 0.5), None) for curve in of_seeds]
        rows.append([NAMES[side], *(", ".join(cell) for cell in ([f"{end:.2f}" for end in ends], map(str, half)))])
    show(found, ["", "mean reward at the end, by seed", "first iteration above 0.5"], rows, as_json=arguments.json)


def train(side: str, seed: int) -> list[float]:
    """Mean reward of each iteration."""
    python = {"retort": Path(sys.executable), "trl": trl_python()}[side]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [str(python), "-m", "bench.ppo_curves_side", side, str(seed), str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        root = Path(__file__).parents[1]
        subprocess.run(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, check=True)
        rewards: list[float] = json.loads(out.read_text(encoding="utf-8"))
    return rewards


def draw(curves: dict[str, list[list[float]]], file: Path) -> None:
    """One line a run, one colour a side."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "retort"  # the same curves give the same file
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (side, of_seeds), colour in zip(curves.items(), ("#1f5fa8", "#b4541a"), strict=True):
        for number, curve in enumerate(of_seeds):
            label = NAMES[side] if number == 0 else None
            axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.2, alpha=0.8, label=label)
    axes.set(xlabel="iteration (64 episodes)", ylabel="mean reward of the rollout", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
