"""`retort pull`: fetch what a run made."""

from __future__ import annotations

from retort.cli import options


def pull(run: options.Run, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """Fetch a run's outputs into runs/NAME; afterwards `dvc status` there is clean."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import runs
    from retort_pipelines.runs.client import kubeflow

    where = kubeflow(host, namespace=load_profile(profile).namespace)
    root = runs.pull(runs.find(where, run))
    print(f"{root}\nretort show {root.name}")
