"""Submitting a run: everything that can be refused is refused before anything is scheduled."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.run import blocking, refuse
from retort_pipelines.graph import compile as compiling
from retort_pipelines.profiles import Profile
from retort_pipelines.runs import names, runs
from retort_pipelines.runs.client import Kubeflow, kubernetes_api
from retort_pipelines.runs.refusals import AwayError, ConflictError
from retort_pipelines.runs.workflow_size import check_workflow

from retort.config import RetortConfig
from retort.config.base import unknown
from retort.errors import ConfigError, StorageError
from retort.io.objects import Objects
from retort.pod.kept_settings import is_text, read
from retort.pod.run_records import Records
from retort.pod.settings import settings_in
from retort.run import dvc_adapter, mark, workspace
from retort.run.embedded import is_embedded
from retort.run.graph import Graph
from retort.run.mark import Mark
from retort.run.record import who
from retort.run.surroundings import commit
from retort.run.tasks import graph

EXPERIMENT = "retort"
_log = logging.getLogger(__name__)

LONGEST_NAME = 63
LONGEST_ARGUMENTS = 120_000
"""Characters. Linux takes 128 KiB for one argument; of a run with 140 kB no pod starts."""


@dataclass(frozen=True)
class Submission:
    """A run as it is submitted."""

    name: str
    config: RetortConfig
    profile: Profile
    remote: str
    """The object store, as pods reach it."""
    forced: frozenset[str] = frozenset()
    """Groups of tasks that run again though nothing about them changed."""
    home: Path = Path()
    """Folder that the configuration's paths start from."""

    @property
    def root(self) -> Path:
        """The run's workspace here."""
        return self.home / "runs" / self.name


def remote_of(given: str | None, profile: Profile) -> str:
    """Address of the object store: the one that is given, or the profile's.

    Raises:
        ConfigError: none is named, it is a folder, which pods cannot reach, or it holds a password.
    """
    remote = given or os.environ.get("RETORT_REMOTE") or (profile.store.remote if profile.store else None)
    if not remote:
        raise ConfigError(
            "no object store is named. Set RETORT_REMOTE (s3://BUCKET/FOLDER), give --remote, or name one in the "
            "profile (store)."
        )
    if "://" not in remote:
        raise ConfigError(f"{remote}: is a folder of this machine, which no pod can reach. Name an s3:// address.")
    if urlsplit(remote).password is not None:
        raise ConfigError(
            "the object store's address holds a password, and everybody who sees a run in Kubeflow would read it. Name "
            "the store without, and give credentials by the environment (AWS_...) and the profile's secret."
        )
    return remote.rstrip("/")


def check_name(name: str) -> None:
    """Refuse a name that Kubernetes would refuse later.

    Raises:
        ConfigError: it is too long, or not made of lower-case letters, digits and dashes.
    """
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"--name {name}: has {len(name)} characters, Kubernetes takes {LONGEST_NAME}. Give a shorter one."
        )
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise ConfigError(f"--name {name}: use lower-case letters, digits and dashes, as Kubernetes does.")


def name_of(config: Path, loaded: RetortConfig, profile: Profile) -> str:
    """Default name of a run: the same configuration on the same code is the same run."""
    seen = json.dumps([loaded.model_dump(mode="json"), profile.model_dump(mode="json")], sort_keys=True)
    digest = hashlib.sha256(seen.encode())
    for task in graph(loaded):
        digest.update(task.code().encode())
    stem = re.sub(r"[^a-z0-9]+", "-", config.stem.lower()).strip("-")[: LONGEST_NAME - 9]
    return f"{stem}-{digest.hexdigest()[:8]}"


@dataclass(frozen=True)
class Submitted:
    """What became of a submission."""

    run_id: str
    new: bool
    """False where an equal run is under way or has ended well: nothing was started then."""
    state: str
    before: str = ""
    """How the run of that name before this one ended; the new one goes on from what it kept."""


def submit(kubeflow: Kubeflow, submission: Submission, *, check: bool = True) -> Submitted:
    """Submit a run, unless an equal run of that name is under way or has ended well.

    After one that failed or was cancelled a new run of the same name starts; what was made so far is remembered.

    Args:
        kubeflow: Where to.
        submission: What.
        check: Ask the cluster first whether the run can succeed there.

    Raises:
        ConfigError: a run of that name is another run, this one is too large for a workflow, or the profile has no
            image with vLLM where one is needed.
        ClusterError: the run could not succeed; names what is missing.
        InputError, StorageError: a source file is missing, or the store refuses it.
    """
    check_name(submission.name)
    made = graph(submission.config, submission.home)
    check_images(made, submission.profile)
    workspace.check_sources(submission.config, made, submission.home)
    if check:
        with kubernetes_api() as api:
            refuse(blocking(Cluster(api, submission.profile, submission.remote)))
    given = prepare(submission)
    if (found := names.equal(kubeflow, submission.name, given)) is not None:
        return Submitted(str(found.run_id), False, str(found.state))
    return start(kubeflow, submission, given)


def check_images(made: Graph, profile: Profile) -> None:
    """Refuse a run whose models vLLM answers for where the profile has no image with vLLM.

    Raises:
        ConfigError: names the groups of tasks.
    """
    asked = dict.fromkeys(task.group for task in made if task.image == "generate")
    if asked and profile.images.generate is None:
        raise ConfigError(
            f"{', '.join(asked)}: vLLM answers there, and the profile names no image that has it. Set images.generate "
            "in the profile (`make images` builds one), or the engine's type to transformers or auto."
        )


def prepare(submission: Submission) -> dict[str, Any]:
    """Send the run's source files and its tasks' settings to the store; return the pipeline's arguments."""
    config, home, root = submission.config, submission.home, submission.root
    workspace.create(root, config, home=home, remote=submission.remote, cache=home / "runs/.cache")
    sources = graph(config, home).sources
    files = dvc_adapter.store(root, [name for name in sources if not is_embedded(name, home)])
    generation = collected(submission.remote)
    given = compiling.arguments(config, remote=submission.remote, files=files, root=home, generation=generation)
    check_size(given)
    return given


def collected(remote: str) -> int:
    """How often a store was collected (`retort gc`)."""
    objects = Objects.of(remote, mark.FOLDER)
    content = objects.read(mark.NAME)
    return 0 if content is None else Mark.from_json(content, f"{objects.folder}/{mark.NAME}").generation


def check_size(given: Mapping[str, Any]) -> None:
    """Refuse arguments that no pod could be started with: Kubeflow puts all of them on one command line.

    Raises:
        ConfigError: they are too long; names the longest.
    """
    size, sizes = len(json.dumps(dict(given))), {name: len(str(value)) for name, value in given.items()}
    if size > LONGEST_ARGUMENTS:
        longest = max(sizes, key=lambda name: sizes[name])
        raise ConfigError(
            f"the run's arguments are {size:,} characters long, {longest} alone {sizes[longest]:,}; Kubeflow puts "
            f"them on one command line, which takes {LONGEST_ARGUMENTS:,}. Make fewer, larger shards, join source "
            "files into one, or shorten what the configuration spells out."
        )


def start(kubeflow: Kubeflow, submission: Submission, given: dict[str, Any]) -> Submitted:
    """Schedule the run, and see to it that it is the only one of its name.

    Raises:
        ConfigError: it is too large for a workflow, or another run took the name at the same moment.
        ClusterError: Kubeflow is away or refuses it.
    """
    file = submission.root / "pipeline.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)  # a rerun has prepared nothing here
    config, profile = submission.config, submission.profile
    compiling.compile(config, profile, file, forced=submission.forced, root=submission.home, run=submission.name)
    check_workflow(submission.config, file, given)
    before = names.named(kubeflow, submission.name)
    run_id = _create(kubeflow, submission, given, file, known={run.run_id for run in before})
    _keep_submission(submission.remote, run_id)
    left = names.settled(kubeflow.patient(), run_id, submission.name, given)
    ended = names.state_of(kubeflow.patient(), before[0]) if before else ""
    return Submitted(left, left == run_id, "PENDING", ended)


def _keep_submission(remote: str, run_id: str) -> None:
    """Say in the store who submitted a run, from which commit; the run is under way whether that can be kept or not."""
    try:
        Records.of(remote, run_id).keep_submission(who(), commit())
    except StorageError as error:
        _log.warning("Who submitted the run is not recorded: %s", error)


def _create(
    kubeflow: Kubeflow, submission: Submission, given: dict[str, Any], file: Path, *, known: Collection[str]
) -> str:
    """Create the run; its id, also where Kubeflow went away after it had taken it and before it said so."""
    with dvc_adapter.stdout_on_stderr():
        group = experiment(kubeflow)
        try:
            made = kubeflow.ask(
                lambda client: client.run_pipeline(
                    group,
                    submission.name,
                    pipeline_package_path=str(file),
                    params=given,
                    service_account=submission.profile.service_account,
                )
            )
        except AwayError:
            taken = names.created_since(kubeflow.patient(), submission.name, given, known)
            if taken is None:
                raise
            return taken
        return str(made.run_id)


def experiment(kubeflow: Kubeflow) -> str:
    """Id of the experiment in which all runs and schedules are kept; it is made with the first."""

    def ask() -> str:
        with dvc_adapter.stdout_on_stderr():  # kfp prints where it is
            made = kubeflow.ask(lambda client: client.create_experiment(EXPERIMENT, namespace=kubeflow.namespace))
        return str(made.experiment_id)

    try:
        return ask()
    except ConflictError:  # somebody made it just now
        return ask()


def descendants(config: RetortConfig, start: str, home: Path = Path()) -> frozenset[str]:
    """Groups of tasks that are `start` (a stage, a group or a task) or read from it, directly or not.

    Raises:
        ConfigError: the run has no such stage.
    """
    made = graph(config, home)
    begun = [task.address for task in made if start in (task.stage.name, task.group, task.address)]
    if not begun:
        known = list(dict.fromkeys(name for task in made for name in (task.stage.name, task.group)))
        raise ConfigError(unknown(f"stage {start!r}", start, known) + ".")
    return frozenset(made.by_address[address].group for address in made.after(begun))


def resubmission(
    run: Any, profile: Profile, name: str, stage: str, home: Path = Path()
) -> tuple[Submission, dict[str, Any]]:
    """A run like `run` in which `stage` and all after it run again; and its arguments, those of `run`.

    Raises:
        ConfigError: `run` is none of Retort's, or has no such stage.
        IntegrityError, StorageError: its tasks' settings are not in the store as they were kept.
    """
    given = dict(run.runtime_config.parameters)
    config, remote = runs.config_of(given)
    for value in settings_in(given).values():
        if not is_text(value):
            read(value)
    return Submission(name, config, profile, remote, descendants(config, stage, home), home), given
