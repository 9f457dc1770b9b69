"""`retort compile`: a whole file, or a clear refusal."""

import pytest
import yaml

from retort.pod.kept_settings import read
from retort.pod.settings import parameter_of
from tests.kubeflow_server.cluster import STORE


def test_the_pipeline_is_written_where_it_is_asked_for(cluster):
    out, _ = cluster.retort("compile", "--config", "toy.yaml", "--out", "new/pipeline.yml")
    assert out == "new/pipeline.yml\n"
    spec, platform = yaml.safe_load_all((cluster.home / "new/pipeline.yml").read_text())
    assert spec["pipelineInfo"]["name"] == "retort-distil"
    assert "kubernetes" in platform["platforms"]
    assert [file.name for file in (cluster.home / "new").iterdir()] == ["pipeline.yml"]


@pytest.mark.parametrize("name", ["t.out", "pipeline", "pipeline.json", "yaml"])
def test_a_name_that_kubeflow_does_not_take_is_refused(cluster, name):
    _, err = cluster.retort("compile", "--config", "toy.yaml", "--out", name, code=64)
    assert f"--out {name}: Kubeflow takes a pipeline as a file whose name ends with .yaml or .yml." in err


def test_a_place_that_cannot_be_written_is_said(cluster):
    (cluster.home / "file").write_text("")
    _, err = cluster.retort("compile", "--config", "toy.yaml", "--out", "file/pipeline.yaml", code=75)
    assert "could not be written" in err


def test_with_a_store_the_interface_can_start_it(cluster):
    cluster.retort("compile", "--config", "toy.yaml", "--remote", STORE, "--out", "p.yaml")
    spec = next(yaml.safe_load_all((cluster.home / "p.yaml").read_text()))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert all("defaultValue" in one for one in inputs.values())
    told = read(inputs[parameter_of("prompts")]["defaultValue"])
    assert (told.remote, [file["path"] for file in told.files]) == (STORE, ["data/prompts.jsonl"])
