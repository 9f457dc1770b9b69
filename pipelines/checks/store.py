"""Whether pods reach the object store with their own keys."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import replace

from retort_pipelines.checks.base import Cluster
from retort_pipelines.profiles.profile import STORE_KEYS

from retort.errors import StorageError
from retort.io.objects import Objects
from retort.run.doctor import Check
from retort.run.store_checks import examine_store


def store_secret(cluster: Cluster) -> Check:
    """The secret with which pods reach the object store is there and has its keys."""
    name, keys = cluster.profile.secrets.store, _store_keys(cluster)
    if not cluster.profile.gives_keys:
        return Check("store secret", "OK", f"none: account {cluster.profile.service_account} has a role")
    if keys is None:
        remedy = (
            f"kubectl -n {cluster.profile.namespace} create secret generic {name} --from-literal=AWS_ACCESS_KEY_ID=..."
        )
        return Check("store secret", "missing", f"no {name} in {cluster.profile.namespace}", remedy)
    if lacking := [key for key in STORE_KEYS[:2] if not keys.get(key)]:
        return Check("store secret", "missing", f"{name} lacks {', '.join(lacking)}", "Add the keys to the secret")
    return Check("store secret", "OK", f"{name}: {', '.join(key for key in STORE_KEYS if key in keys)}")


def storage(cluster: Cluster) -> Check:
    """The object store takes, gives and forgets an object, with the pods' own credentials where there are any."""
    secret, remote = cluster.profile.secrets.store, cluster.remote
    keys = _store_keys(cluster) if remote.startswith("s3://") else None
    if keys and not all(keys.get(key) for key in STORE_KEYS[:2]):
        return Check("storage", "optional", f"{remote}: not tried, as {secret} lacks keys", "See store secret")
    whose = f"the pods' credentials ({secret})" if keys else f"this machine's credentials, none of secret {secret}"
    remedy = f"Correct secret {secret} or the address; pods would fail in the same way"
    check = tried("storage", remote, keys, shown=remote, whose=whose, remedy=remedy)
    if keys or check.status != "OK":
        return check
    return Check(
        "storage", "optional", check.found, f"Says nothing of pods, which use secret {secret} or their account"
    )


def store_details(cluster: Cluster) -> list[Check]:
    """What the store does beyond taking and giving an object, tried with the pods' own credentials."""
    from kubernetes.client import ApiException

    try:
        keys = _store_keys(cluster)
    except ApiException:  # said by the check of the secret
        return []
    if not cluster.remote.startswith("s3://") or not keys or not all(keys.get(key) for key in STORE_KEYS[:2]):
        return []
    found = examine_store(cluster.remote, keys)
    shown = [one for one in found if one.name not in ("credentials", "reach", "write and read", "deleted")]
    return [replace(one, name=f"store: {one.name}") for one in shown]


def tried(name: str, remote: str, keys: Mapping[str, str] | None, *, shown: str, whose: str, remedy: str) -> Check:
    """Write, read and remove one small object.

    Args:
        name: Name of the check.
        remote: Address of the store.
        keys: AWS's variables, instead of those of this machine.
        shown: The store, as it is called.
        whose: Whose credentials these are.
        remedy: What to do where it refuses.
    """
    from botocore.exceptions import BotoCoreError

    probe = uuid.uuid4().hex
    try:
        objects = Objects.of(remote, "checks", credentials=keys)
        objects.write(probe, b"ok")
        same = objects.read(probe) == b"ok"
        objects.remove(probe)
    except (StorageError, BotoCoreError) as error:
        if "connect" in str(error).lower():
            problem = f"{shown}: cannot be reached from here: {error}"
            return Check(name, "optional", problem, "Pods may reach it all the same")
        return Check(name, "missing", f"{shown}: {error} (with {whose})", remedy)
    if not same:
        return Check(name, "missing", f"{shown} does not return what was written", "Use another store")
    return Check(name, "OK", f"{shown}: write, read and delete, with {whose}")


def _store_keys(cluster: Cluster) -> dict[str, str] | None:
    where = (cluster.profile.secrets.store, cluster.profile.namespace)
    secret = cluster.get(lambda: cluster.core.read_namespaced_secret(*where))
    if secret is None:
        return None
    return {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items() if key in STORE_KEYS}
