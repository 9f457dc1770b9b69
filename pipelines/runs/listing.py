"""The runs of a Kubeflow, for `retort runs --cluster`: what it knows of them, and their figures from the store."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

from retort_pipelines.profiles import load_profile
from retort_pipelines.runs import names, runs
from retort_pipelines.runs.client import Kubeflow, kubeflow

from retort.errors import RetortError
from retort.io.objects import Objects
from retort.pod.run_records import Records
from retort.report.runs import Listed, figures_of

SUMMARY = "metrics/summary.json"


def listed(profile: str, host: str | None, newest: int) -> list[Listed]:
    """The `newest` runs of a Kubeflow that are Retort's, newest first; others are passed over.

    Raises:
        ConfigError, ClusterError: no Kubeflow is named, or it is away.
    """
    where = kubeflow(host, namespace=load_profile(profile).namespace)
    found = where.ask(
        lambda client: client.list_runs(page_size=newest, sort_by="created_at desc", namespace=where.namespace)
    )
    return [one for run in found.runs or [] if (one := _listed(where, run.run_id)) is not None]


def _listed(where: Kubeflow, run_id: str) -> Listed | None:
    run: Any = where.ask(partial(_run, run_id))
    try:
        _, remote = runs.config_of(run.runtime_config.parameters)
    except RetortError:
        return None
    state, begun, ended = names.state_of(where, run), run.created_at, run.finished_at
    records = Records.of(remote, run_id)
    submission: dict[str, Any] = {}
    figures, problem = {}, ""
    try:
        submission = records.submission()
        if state == "SUCCEEDED":
            figures = _figures(records, remote)
    except (RetortError, ValueError, KeyError) as error:
        problem = f"its figures cannot be read: {error}"
    return Listed(
        str(run.display_name),
        where.host,
        state.lower(),
        begun.isoformat(timespec="seconds") if begun else None,
        (ended - begun).total_seconds() if state in names.ENDED and ended and begun else None,
        str(submission.get("who") or ""),
        submission.get("commit"),
        figures,
        problem,
    )


def _figures(records: Records, remote: str) -> dict[str, float]:
    """The figures of a run that has ended well, by the content hash that its lock names.

    Raises:
        InputError, IntegrityError: there is no lock, or it is damaged.
        KeyError: the run is of a version without a summary.
        ValueError: the content is not what it is named for.
    """
    (digest,) = (out["md5"] for out in records.lock()["report"]["outs"] if out["path"] == SUMMARY)
    content = Objects.of(remote, "files/md5").read(f"{digest[:2]}/{digest[2:]}")
    if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
        raise ValueError(f"{SUMMARY}: is {'missing' if content is None else 'damaged'} in the store")
    return figures_of(json.loads(content))


def _run(run_id: str, client: Any) -> Any:
    return client.get_run(run_id)
