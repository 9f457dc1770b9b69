"""What a real Kubeflow is not asked to do: refused before anything is scheduled, with a remedy."""

import base64
import json

import pytest
import yaml

from tests.cluster.runs import SMOKE
from tests.cluster.support import PROFILE, Retort, put_secret


def test_a_wrong_secret_is_refused_before_anything_is_scheduled(kubeflow, pods, name):
    put_secret(pods, AWS_SECRET_ACCESS_KEY="wrong")
    try:
        said = kubeflow("submit", *SMOKE, "--name", name("wrong"), code=69)
    finally:
        put_secret(pods)
    assert "nothing was scheduled" in said
    assert "retort-store" in said
    assert "no run" in kubeflow("status", name("wrong"), code=64)


def test_an_impossible_request_is_refused_with_the_nodes_that_there_are(kubeflow, pods, tmp_path, name):
    profile = tmp_path / "big.yaml"
    profile.write_text(f"extends: {PROFILE}\nstages: {{ppo: {{gpus: 16}}}}\n")
    said = kubeflow("submit", *SMOKE, "--name", name("big"), "--profile", str(profile), code=69)
    assert "no node takes a pod of ppo (16 x nvidia.com/gpu" in said
    assert "There are: " in said
    for node in pods.json("get", "nodes")["items"]:
        assert node["metadata"]["name"] in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", *SMOKE, "--profile", "mars"), "unknown profile 'mars': use generic"),
        (("submit", *SMOKE, "--name", "x" * 64), "has 64 characters, Kubernetes takes 63"),
        (("status", "never-was"), "no run 'never-was' at"),
        (("pull", "never-was"), "no run 'never-was' at"),
        (("rerun", "never-was", "--from", "ppo"), "no run 'never-was' at"),
        (("schedule", "set", "s", *SMOKE, "--cron", "61 * * * *"), "61"),
        (("schedule", "remove", "never-was"), "no schedule 'never-was' at"),
    ],
)
def test_what_cannot_be_is_refused(kubeflow, arguments, words):
    assert words in kubeflow(*arguments, code=64)


def test_a_kubeflow_that_is_away_is_said(kubeflow):
    away = Retort(kubeflow.home, kubeflow.environment | {"RETORT_KFP_HOST": "http://127.0.0.1:9"})
    assert "Kubeflow Pipelines does not answer" in away("submit", *SMOKE, code=69)


def kubernetes_as(kubeflow, file, change):
    """`retort` with another KUBECONFIG: this one's, changed."""
    with open(kubeflow.environment["KUBECONFIG"]) as own:
        config = yaml.safe_load(own)
    change(config)
    file.write_text(yaml.safe_dump(config))
    return Retort(kubeflow.home, kubeflow.environment | {"KUBECONFIG": str(file)})


def test_an_api_server_that_is_away_is_said(kubeflow, tmp_path, name):
    def elsewhere(config):
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"

    away = kubernetes_as(kubeflow, tmp_path / "away", elsewhere)
    assert "Kubernetes does not answer" in away("submit", *SMOKE, "--name", name("away"), code=69)


def test_an_expired_token_is_said(kubeflow, tmp_path, name):
    def expired(config):
        claims = base64.urlsafe_b64encode(json.dumps({"exp": 1}).encode()).decode()
        config["users"][0]["user"] = {"token": f"e30.{claims}.e30"}

    refused = kubernetes_as(kubeflow, tmp_path / "expired", expired)
    assert "Sign in again" in refused("submit", *SMOKE, "--name", name("expired"), code=69)
