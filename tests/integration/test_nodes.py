"""Two nodes with nothing in common but the store make what one machine with two processes makes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from retort.config import load_config
from retort.io.objects import Objects
from retort.pod import lock_fragments, task
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from tests.pod_settings import changes_of

SETTINGS = {"steps": 6, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_steps": 2}


def given(root, address, remote):
    """What a pod of the task is told, and the name of a fragment with all that it reads."""
    config = load_config(root / "params.yaml", root=root)
    made = graph(config, root).by_address[address]
    dvc_adapter.init(root, remote=remote)
    entries = dvc_adapter.store(root, made.deps)
    told = settings(config, [made], {}, remote=remote).filled(changes_of(config, [made]))
    return [told.to_json(), lock_fragments.save({"made": {"outs": list(entries.values())}}, remote)]


def start_node(rank, port, told):
    """As Kubeflow's Trainer starts one."""
    trainer = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(rank)}
    trainer |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    environment = os.environ | trainer | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "retort.pod.node", json.dumps(told)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_nodes_make_what_two_processes_make(training_root, tmp_path, monkeypatch):
    remote = str(tmp_path / "remote")
    inputs = given(training_root(sft=SETTINGS), "sft-sft", remote)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"item": "sft", "given": inputs, "job": "job"}
    nodes = [start_node(rank, port, told) for rank in (0, 1)]
    said = [node.communicate(timeout=250)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)
    found = Objects.of(remote, "trainjobs").read("job").decode()
    assert Objects.of(remote, "state").names() == []
    monkeypatch.setenv("RETORT_PROCESSES", "2")
    monkeypatch.setenv("RETORT_FORCE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert task.run(inputs[0], inputs[1:]) == found
