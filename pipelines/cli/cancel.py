"""`retort cancel`: end a run."""

from __future__ import annotations

from retort.cli import options


def cancel(run: options.Run, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """End a run, all that are under way where several have the name; a new one goes on from its checkpoints."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import names, runs
    from retort_pipelines.runs.client import kubeflow

    where = kubeflow(host, namespace=load_profile(profile).namespace)
    found = runs.every(where, run)
    live = [one for one in found if names.is_live(one)]
    if not live:
        print(f"{found[0].display_name}: has ended already ({names.state_of(where, found[0])})")
    for one in live:
        which = one.display_name if len(live) == 1 else f"{one.display_name} {one.run_id}"
        print(f"{which}: {'cancelled' if names.end(where, one.run_id) else 'has ended already'}")
