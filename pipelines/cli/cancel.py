"""`retort cancel`: end a run."""

from __future__ import annotations

from retort.cli import options


def cancel(run: options.Run, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """End a run; its pods go, nothing half-written stays, and a new run goes on from its checkpoints."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import runs
    from retort_pipelines.runs.client import kubeflow

    where = kubeflow(host, namespace=load_profile(profile).namespace)
    found = runs.find(where, run)
    if found.state in runs.ENDED:
        print(f"{found.display_name}: has ended already ({found.state})")
        return
    runs.cancel(where, found.run_id)
    print(f"{found.display_name}: cancelled")
