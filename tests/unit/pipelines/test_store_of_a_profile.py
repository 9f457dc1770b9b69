"""The object store as one block of a profile: pods and this machine reach it by it, over TLS too; no key is in it."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from retort_pipelines.graph.compile import compile as compile_pipeline
from retort_pipelines.graph.trainjob import manifest
from retort_pipelines.profiles import Needs, Profile, load_profile
from retort_pipelines.runs.submit import remote_of
from s3fs import S3FileSystem

from retort.config import load_config
from retort.errors import ConfigError, StoreAwayError
from retort.io.objects import Objects
from retort.run import dvc_adapter
from retort.run.store_checks import examine_store
from tests.s3_server import S3Server

STORE = {"bucket": "data", "prefix": "team/retort", "endpoint": "https://s3.example.com", "region": "eu-1"}
NAMES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_PROFILE", "RETORT_REMOTE")
NAMES += ("AWS_SHARED_CREDENTIALS_FILE",)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """The environment says nothing of a store, and what a profile sets is undone."""
    for name in NAMES:
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)


def profile(**more):
    return Profile.model_validate({"store": STORE | more})


def test_the_profile_says_where_the_store_is_and_what_is_given_goes_before(monkeypatch):
    assert remote_of(None, profile()) == "s3://data/team/retort"
    assert remote_of("s3://other/x", profile()) == "s3://other/x"
    monkeypatch.setenv("RETORT_REMOTE", "s3://env/x")
    assert remote_of(None, profile()) == "s3://env/x"
    monkeypatch.delenv("RETORT_REMOTE")
    with pytest.raises(ConfigError, match="in the profile"):
        remote_of(None, Profile())


def test_loading_a_profile_lets_this_machine_reach_its_store(tmp_path, monkeypatch):
    credentials = {"type": "file", "path": "/keys", "profile": "retort"}
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"store": STORE | {"ca_file": "/ca.pem", "credentials": credentials}}))
    monkeypatch.setenv("AWS_REGION", "said-before")
    load_profile(str(file))
    assert {name: os.environ.get(name) for name in NAMES} == {
        "AWS_ENDPOINT_URL": "https://s3.example.com",
        "AWS_REGION": "said-before",
        "AWS_DEFAULT_REGION": "eu-1",
        "AWS_CA_BUNDLE": "/ca.pem",
        "AWS_PROFILE": "retort",
        "AWS_SHARED_CREDENTIALS_FILE": "/keys",
        "RETORT_REMOTE": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bucket", "Not_A_Bucket"),
        ("prefix", "/x"),
        ("endpoint", "s3.example.com"),
        ("credentials", {"type": "keys", "access_key": "x"}),
        ("access_key", "x"),
    ],
)
def test_what_is_no_store_or_holds_a_key_is_refused(field, value, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"store": STORE | {field: value}}))
    with pytest.raises(ConfigError, match=f"store.*{field}"):
        load_profile(str(file))


@pytest.mark.parametrize("role", [False, True])
def test_pods_get_the_address_the_certificates_and_keys_unless_a_role_has_the_right(toy, tmp_path, role):
    more = {"ca_config_map": "store-ca"} | ({"credentials": {"type": "role"}} if role else {})
    made = profile(**more)
    compile_pipeline(load_config(toy().file), made, tmp_path / "p.yaml")
    pipeline, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    pods = pipeline["deploymentSpec"]["executors"]
    said = {one["name"]: one["value"] for one in pods["exec-votes"]["container"]["env"]}
    assert (
        said.items()
        >= {
            "AWS_ENDPOINT_URL": "https://s3.example.com",
            "AWS_REGION": "eu-1",
            "AWS_CA_BUNDLE": "/etc/retort/store-ca/ca.crt",
        }.items()
    )
    placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in pods:
        assert [one["configMapName"] for one in placed[name]["configMapAsVolume"]] == ["store-ca"]
        secrets = {one["secretName"] for one in placed[name]["secretAsEnv"]}
        assert secrets == ({"retort-models"} if role else {"retort-models", "retort-store"})
    job = manifest(made, Needs(nodes=2), image="x", secrets={}, scratch="/s")["spec"]
    assert {one["name"] for one in job["trainer"]["env"]} >= {"AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"}
    assert "store-ca" in str(job["runtimePatches"])


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate for 127.0.0.1, signed by itself."""
    key, cert, both = tmp_path / "key", tmp_path / "cert", tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + cert.read_text())
    return both, cert


def test_a_store_with_a_certificate_of_ones_own_is_reached_with_it_and_not_without(certificate, tmp_path, monkeypatch):
    both, cert = certificate
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with S3Server(certificate=both) as server:
        file = tmp_path / "p.yaml"
        store = STORE | {"endpoint": server.url}
        S3FileSystem.clear_instance_cache()
        file.write_text(yaml.safe_dump({"store": store}))
        load_profile(str(file))
        with pytest.raises(StoreAwayError, match=r"(?i)certificate"):
            Objects.of("s3://data/team/retort", "x").read("y")
        assert "certificate" in next(one for one in examine_store("s3://data/x") if one.name == "reach").found.lower()
        S3FileSystem.clear_instance_cache()
        file.write_text(yaml.safe_dump({"store": store | {"ca_file": str(cert)}}))
        remote = remote_of(None, load_profile(str(file)))
        Objects.of(remote, "x").write("y", b"content")
        assert server.objects["data/team/retort/x/y"] == b"content"
        assert [one.name for one in examine_store(remote) if one.status == "missing"] == []
        root = Path(tmp_path / "ws")
        dvc_adapter.init(root, remote=remote)
        (root / "data").write_text("x")
        entry = dvc_adapter.store(root, ["data"])["data"]
        assert f"data/team/retort/files/md5/{entry['md5'][:2]}/{entry['md5'][2:]}" in server.objects
    S3FileSystem.clear_instance_cache()
