"""What the environment names: KUBECONFIG, an S3 store (RETORT_REMOTE, AWS_*), Kubeflow Pipelines (RETORT_KFP_HOST).

RETORT_CLUSTER_TOOL names the command of the test cluster, where there is one: nodes may then lose power.

Tests that need what is not named skip and say so. They are the same on a laptop's kind and on a company's cluster;
RETORT_TEST_PROFILE names another profile than the one beside this file, RETORT_TEST_NAMESPACE another namespace.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from retort_pipelines.profiles import load_profile

from tests.cluster import image as images
from tests.cluster.runs import Run, ended, submitted
from tests.cluster.support import CHECKOUT, PROFILE, Kubectl, Retort, named, put_secret


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked `cluster`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """kubectl on the cluster of KUBECONFIG, in a namespace with the manifests of k8s/ and the store's secret."""
    named("KUBECONFIG")
    run = Kubectl()
    run("apply", "--server-side", "--force-conflicts", "-k", str(CHECKOUT / "k8s/overlays/generic"))
    return run


@pytest.fixture(scope="session")
def store() -> str:
    """A folder of its own in the object store of RETORT_REMOTE; the bucket is made where it is not there."""
    named("RETORT_REMOTE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    import boto3
    from botocore.exceptions import ClientError

    remote = os.environ["RETORT_REMOTE"].rstrip("/")
    bucket = remote.removeprefix("s3://").partition("/")[0]
    client = boto3.client("s3")
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        client.create_bucket(Bucket=bucket)
    return f"{remote}/test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def own_store(store: str) -> str:
    """A folder of its own in the store for one test: the resume state of a run that failed for good stays."""
    return f"{store}/{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def image(kubectl: Kubectl) -> Iterator[images.Image]:
    """What pods of stages run in."""
    yield images.find(kubectl)
    images.remove(kubectl)


@pytest.fixture
def secret(kubectl: Kubectl, store: str) -> None:
    """The store's secret in the namespace."""
    put_secret(kubectl)


@pytest.fixture(scope="session")
def kubeflow(store: str, tmp_path_factory: pytest.TempPathFactory) -> Retort:
    """`retort` with everything named, in a folder with the configurations."""
    named("KUBECONFIG", "RETORT_KFP_HOST")
    home = tmp_path_factory.mktemp("home")
    for name in ("configs", "retort"):
        (home / name).symlink_to(CHECKOUT / name)
    put_secret(Kubectl(load_profile(PROFILE).namespace))
    environment = os.environ | {
        "RETORT_REMOTE": store,
        "RETORT_PROFILE": PROFILE,
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
    }
    return Retort(home, environment)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the configurations, from which runs are submitted."""
    for name in ("configs", "retort"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    return tmp_path


@pytest.fixture(scope="session")
def name() -> Callable[[str], str]:
    """Names of runs that no other test run has."""
    mark = uuid.uuid4().hex[:6]
    return lambda text: f"{text}-{mark}"


@pytest.fixture(scope="session")
def pods(kubeflow: Retort) -> Kubectl:
    """kubectl in the namespace of the runs' pods."""
    return Kubectl(load_profile(PROFILE).namespace)


@pytest.fixture(scope="session")
def first(kubeflow: Retort, name: Callable[[str], str]) -> Run:
    """The smoke distillation, once for every test that starts from it."""
    run = submitted(kubeflow, name("first"))
    ended(kubeflow, run)
    return run
