"""`retort compile`: a whole file, or a clear refusal."""

import pytest
import yaml


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
