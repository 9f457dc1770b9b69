"""Retort from Python: what `import retort` offers in a script or a notebook.

    import retort

    labels = retort.vote([["... #### 18", "... 18", "... 17"]], "number")
    scores = retort.score(["... #### 18"], ["18"], "number")
    run = retort.run("demo", name="try", changes=["ppo.iterations=5"])
    run.figures["accuracy"], run.metrics["paired"], run.results("ppo")
    retort.Run("try").reward("learned").score(prompts, responses, finished)

Everything else under `retort` may change with any version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort import plugins
from retort.config import RetortConfig, load_config
from retort.config.data import AnswerType
from retort.errors import ConfigError
from retort.evaluation.statistics import mean_interval
from retort.report.curves import Curve, read_curves
from retort.report.differences import Differences, differences
from retort.report.runs import Listed, listed, local_runs, read_figures
from retort.run import dvc_adapter, project, workspace
from retort.run.find import name_of, new_workspace, report_of
from retort.run.find import workspace as find
from retort.run.paths import Paths
from retort.run.record import recorded
from retort.text.agreement import stated
from retort.text.extract import read_answer
from retort.votes.answers import Ballot, Batch, Origin, collect
from retort.votes.majority import Vote, majority_vote

if TYPE_CHECKING:
    from retort.rewards.learned.model import RewardModel

_BATCH = 2_000
"""Responses that are read at once; several batches are read by several processes."""


def vote(
    responses: Sequence[Sequence[str]], kind: AnswerType = "number", *, min_share: float = 0.0, min_margin: float = 0.0
) -> list[Vote]:
    """Vote over the responses to each prompt; one outcome a prompt.

    Args:
        responses: The responses to each prompt.
        kind: What their answers are: number, expression, choice or text.
        min_share: Abstain where the winner has a smaller share of all responses.
        min_margin: Abstain where the winner leads by less.

    Raises:
        ValueError: answers of this kind are not voted on.
    """
    if kind == "open":
        raise ValueError("responses to open-ended prompts have no answers to vote on; a judge elects one")
    ballots = {str(place): Ballot() for place in range(len(responses))}
    every = [(str(place), text) for place, texts in enumerate(responses) for text in texts]
    batches = [
        Batch([prompt for prompt, _ in part], [Origin("")] * len(part), [text for _, text in part])
        for part in (every[start : start + _BATCH] for start in range(0, len(every), _BATCH))
    ]
    for _ in collect(batches, ballots, partial(read_answer, kind=kind)):
        pass
    return [
        majority_vote(ballot.answers, kind, min_share=min_share, min_margin=min_margin) for ballot in ballots.values()
    ]


@dataclass(frozen=True)
class Scored:
    """One response."""

    answer: str | None
    """What it states; None where nothing could be read, which counts as wrong."""
    right: bool


@dataclass(frozen=True)
class Scores:
    """Responses held to gold answers."""

    accuracy: float
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    unread: int
    """Responses without a readable answer."""
    rows: list[Scored] = field(repr=False)


def score(responses: Sequence[str], gold: Sequence[str], kind: AnswerType = "number") -> Scores:
    """Read each response's answer and compare it with its gold answer, by value.

    Raises:
        ValueError: there are none, or not as many gold answers as responses.
    """
    if not responses or len(responses) != len(gold):
        raise ValueError(f"{len(responses)} responses and {len(gold)} gold answers: give one gold answer a response")
    rows = []
    for response, wanted in zip(responses, gold, strict=True):
        said = stated(response, kind)
        rows.append(Scored(said.value, said.agrees(wanted)))
    right = [float(row.right) for row in rows]
    low, high = mean_interval(right, [str(place) for place in range(len(rows))])
    return Scores(sum(right) / len(right), low, high, sum(row.answer is None for row in rows), rows)


class Run:
    """A run that is here: its figures, tables, curves, models and rewards."""

    def __init__(self, name: str | Path = ".") -> None:
        """Find it.

        Args:
            name: Its name under `runs/`, or its folder; `.` is the run of this folder.

        Raises:
            ConfigError: there is no such run; names the nearest.
        """
        self.folder = find(name)
        self._paths = Paths(self.folder)

    @property
    def name(self) -> str:
        """Name of the run."""
        return name_of(self.folder)

    @property
    def figures(self) -> dict[str, float]:
        """Its ten figures (`retort.report.metrics.FIGURES`); empty where it has not come so far."""
        return read_figures(self._paths.summary)[0]

    @property
    def metrics(self) -> dict[str, Any]:
        """Everything that its report shows, as numbers.

        Raises:
            InputError: there is no report yet.
        """
        return report_of(self.folder)

    @property
    def config(self) -> RetortConfig:
        """Its configuration."""
        return load_config(self.folder / "params.yaml", root=self.folder)

    @property
    def about(self) -> Listed:
        """Its state, when it was started, by whom, on which commit."""
        return listed(self.folder)

    @property
    def student(self) -> Path:
        """Folder of the student that it hands over."""
        return self._paths.model(str(self.metrics["final_model"]))

    def results(self, model: str, benchmark: str | None = None) -> list[dict[str, Any]]:
        """What a model answered, item by item; on the primary benchmark where none is named.

        Raises:
            InputError: it was not evaluated on that benchmark.
        """
        from retort.io.tables import RESULTS, read_table

        return read_table(self._paths.results(model, benchmark or str(self.metrics["benchmark"])), RESULTS)

    def votes(self) -> list[dict[str, Any]]:
        """Every prompt's vote."""
        from retort.io.tables import VOTES, read_table

        return read_table(self._paths.votes, VOTES)

    def curves(self, name: str) -> dict[str, Curve]:
        """Points (step, value) of every curve of a student or learned reward."""
        return read_curves(self._paths.curves(name))

    def reward(self, name: str = "learned") -> RewardModel:
        """A learned reward, loaded: `.score(prompts, responses, finished)`.

        Raises:
            ModelError: the run has no such reward, or a model that it needs is not here.
        """
        from retort.rewards.learned.model import RewardModel

        models = {path.name: path for path in self._paths.model("").glob("*") if path.is_dir()}
        return RewardModel.load(self._paths.reward(name), models, name=name)

    def diff(self, other: Run | str) -> Differences:
        """What another run has not in common with this one."""
        return differences(self.folder, (other if isinstance(other, Run) else Run(other)).folder)

    def __repr__(self) -> str:
        """Name, state and accuracy."""
        known = self.figures.get("accuracy")
        return f"Run({self.name!r}, {self.about.state}" + (f", accuracy {known:.1%})" if known is not None else ")")


def run(
    config: str | Path | Mapping[str, Any] | RetortConfig, *, name: str | None = None, changes: Sequence[str] = ()
) -> Run:
    """Run a configuration in a workspace of its own under `runs/`; only what changed is made again.

    Args:
        config: Name of one that comes with Retort, path of a file, or its content.
        name: Name of the run; the file's where left out.
        changes: `KEY=VALUE` on top of it, as `--set` of the command takes them.

    Raises:
        ConfigError: the configuration is wrong, or a name is missing.
        StageError: a stage failed; it has said why on stderr.
        RetortError: whatever else is refused.
    """
    if isinstance(config, str | Path):
        loaded, name = load_config(Path(config), changes=changes), name or Path(config).stem
    elif changes:
        raise ConfigError("changes are made on top of a file: change the content itself, or name a file.")
    else:
        with plugins.at(Path()):
            loaded = config if isinstance(config, RetortConfig) else RetortConfig.model_validate(dict(config))
    if name is None:
        raise ConfigError("a configuration without a file needs a name: run(config, name=...).")
    root = new_workspace(name)
    remote, cache = project.stores(Path())
    workspace.create(root, loaded, home=Path(), remote=remote, cache=cache)
    with recorded(root) as ran, _own_command():
        ran.extend(dvc_adapter.reproduce(root))
    return Run(root)


def runs() -> list[Run]:
    """The runs that are here, newest first."""
    return [Run(one.name) for one in local_runs()]


@contextmanager
def _own_command() -> Iterator[None]:
    """Stages are commands of this very installation, also where its environment was not activated."""
    kept = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept}"
    try:
        yield
    finally:
        os.environ["PATH"] = kept


__all__ = ["Run", "Scored", "Scores", "Vote", "run", "runs", "score", "vote"]
