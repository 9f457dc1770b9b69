"""A task that fails twice for what no attempt mends says so where Argo looks; nothing else does."""

import pytest
import yaml

from retort.errors import DO_NOT_RETRY, RETRY
from retort.pod import task, termination
from retort.pod.run_records import Records
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.cluster.support import CHECKOUT
from tests.pod_settings import changes_of


class Attempts:
    """Attempts at stage `prompts` of one run in pods of their own, with the file that Kubernetes gives each."""

    def __init__(self, toy, command, folder, monkeypatch):
        root = toy.home / "runs/submit"
        create(root, toy.config, home=toy.home, remote=str(root / "remote"), cache=root / "cache")
        self.remote, made = dvc_adapter.remote(root), graph(toy.config, toy.home)
        stored = dvc_adapter.store(root, made.sources)
        prompts = made.groups["prompts"]
        told = settings(toy.config, prompts, stored, remote=self.remote)
        self.told = told.filled(changes_of(toy.config, prompts))
        self.command, self.file, self.set = command, folder / "termination-log", monkeypatch.setenv
        self.set("RETORT_RUN", "run-1")
        monkeypatch.setattr(termination, "FILE", self.file)

    def __call__(self, pod, code, *, in_kubernetes=True):
        """Let the stage end with this code in this pod; what it left for Argo."""
        self.command.write_text(f"#!/usr/bin/env python3\nimport sys\nsys.exit({code})\n")
        self.file.unlink(missing_ok=True)
        if in_kubernetes:
            self.file.touch()
        self.set("KFP_POD_NAME", pod)

        with pytest.raises(SystemExit) as ended:
            task.run(self.told.to_json(), [])
        assert ended.value.code == code
        return self.file.read_text() if self.file.exists() else None


@pytest.fixture
def attempt(toy, tmp_path, monkeypatch):
    return Attempts(toy(), tmp_path / "bin/retort", tmp_path, monkeypatch)


def test_a_failure_for_good_is_tried_once_more_and_then_no_more(attempt):
    assert attempt("a", DO_NOT_RETRY) == ""
    said = attempt("b", DO_NOT_RETRY)
    assert said == f"{termination.FOR_GOOD}: prompts has failed twice with exit code 65"
    assert [one.pod for one in Records.of(attempt.remote, "run-1").failures("prompts")] == ["a", "b"]


def test_what_another_attempt_may_mend_has_all_its_attempts(attempt):
    assert [attempt(pod, RETRY) for pod in "abc"] == ["", "", ""]


def test_a_mistake_in_retort_is_not_known_to_be_for_good(attempt):
    assert [attempt(pod, 1) for pod in "ab"] == ["", ""]


def test_two_failures_of_different_kinds_are_not_one_twice(attempt):
    assert [attempt("a", RETRY), attempt("b", DO_NOT_RETRY), attempt("c", 64)] == ["", "", ""]
    assert attempt("d", DO_NOT_RETRY).startswith(termination.FOR_GOOD)


def test_one_pod_twice_is_one_attempt(attempt):
    assert [attempt("a", DO_NOT_RETRY) for _ in range(2)] == ["", ""]


def test_another_runs_failure_does_not_count(attempt, monkeypatch):
    attempt("a", DO_NOT_RETRY)
    monkeypatch.setenv("RETORT_RUN", "run-2")
    assert attempt("b", DO_NOT_RETRY) == ""


def test_outside_a_cluster_nothing_is_written(attempt):
    assert [attempt(pod, DO_NOT_RETRY, in_kubernetes=False) for pod in "ab"] == [None, None]


def test_argos_expression_asks_for_the_words_that_pods_say():
    file = CHECKOUT / "k8s/kubeflow/workflow-controller-configmap.yaml"
    defaults = yaml.safe_load(yaml.safe_load(file.read_text())["data"]["workflowDefaults"])
    expression = defaults["spec"]["templateDefaults"]["retryStrategy"]["expression"]
    assert f'not (lastRetry.message contains "{termination.FOR_GOOD}")' in expression
