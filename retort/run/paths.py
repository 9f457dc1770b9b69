"""Where each stage's inputs and outputs lie in a workspace, the folder that holds `dvc.yaml` and `params.yaml`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CODE = "code.yaml"
"""File of a workspace with the hash of the code that makes each task."""

TASK = "task.json"
"""File of a pod's workspace with the one task that it is for."""


@dataclass(frozen=True)
class Paths:
    """Places in one workspace; DVC versions what is under `outputs`, `metrics` and `curves`, and not the state."""

    root: Path = Path()

    def prompts(self, split: str) -> Path:
        """Prompts of one use: train, validation, test or unlabelled."""
        # Apart from the others, so that more of them make nothing run again that does not read them.
        folder = "outputs/unlabelled" if split == "unlabelled" else "outputs/prompts"
        return self.root / folder / f"{split}.parquet"

    def responses(self, name: str, shard: int) -> Path:
        """One shard of the responses of the teacher or of a student."""
        folder = "teacher_responses" if name == "teacher" else f"student_responses/{name}"
        return self.root / "outputs" / folder / f"shard-{shard}.parquet"

    def ballots(self, shard: int) -> Path:
        """Answers that were read in one shard of the teacher's responses."""
        return self.root / "outputs/ballots" / f"shard-{shard}.parquet"

    @property
    def votes(self) -> Path:
        """The vote on every train and validation prompt."""
        return self.root / "outputs/votes/votes.parquet"

    @property
    def judgements(self) -> Path:
        """What the judge made of each response to an open-ended prompt."""
        return self.votes.with_name("judgements.parquet")

    def reward_examples(self, reward: str, part: int) -> Path:
        """Folder of labelled examples of one part of the prompts, each split a table."""
        return self.root / "outputs/reward_examples" / reward / f"part-{part}"

    def reward_data(self, reward: str, split: str) -> Path:
        """Labelled examples of a learned reward: train or validation."""
        return self.root / "outputs/reward_data" / reward / f"{split}.parquet"

    def reward(self, name: str) -> Path:
        """Folder of a learned reward."""
        return self.root / "outputs/rewards" / name

    def model(self, name: str) -> Path:
        """Folder of a model or student."""
        return self.root / "outputs/models" / name

    def results(self, model: str, benchmark: str) -> Path:
        """Per-item results of one model or student on one benchmark."""
        return self.root / "outputs/evaluate" / f"{model}-{benchmark}.parquet"

    def metrics(self, task: str) -> Path:
        """Metrics of a task, as JSON."""
        return self.root / "metrics" / f"{task}.json"

    @property
    def summary(self) -> Path:
        """The run's few figures, as JSON."""
        return self.root / "metrics/summary.json"

    def curves(self, name: str) -> Path:
        """Folder of the curves of a student or learned reward, written while it trains."""
        return self.root / "curves" / name

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.root / "outputs/report"

    def state(self, task: str) -> Path:
        """Folder of what a killed task resumes from: outside the outputs, because DVC deletes those first.

        The environment variable RETORT_STATE names a folder that outlives the workspace: a pod's volume.
        """
        return Path(os.environ.get("RETORT_STATE") or self.root / ".retort/state") / task

    def log(self, task: str) -> Path:
        """What a task and the libraries below it wrote, where that is kept off the terminal (`retort run`)."""
        return self.root / ".retort/logs" / f"{task}.log"

    def timing(self, task: str) -> Path:
        """Wall time of a task on this machine: kept apart, because versioned outputs must not depend on it."""
        return self.root / ".retort/timings" / f"{task}.json"
