"""`retort deploy`: an InferenceService that KServe takes.

KServe's own schema is not kept here; RETORT_KSERVE_CRD names its file (config/crd/full/
serving.kserve.io_inferenceservices.yaml of github.com/kserve/kserve), and the manifest is held to that too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import ConfigError
from retort.handover.export import export
from retort.handover.kserve import manifest
from retort.handover.student import Student

Run = Callable[..., Student]


def problems(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Where a value breaks an OpenAPI schema as Kubernetes reads it; a field that it does not know would be dropped."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or not re.fullmatch(schema.get("pattern", ".*"), str(value)):
            yield f"{place}: {value!r}"
        return
    if (kind := schema.get("type")) in kinds and not isinstance(value, kinds[kind]):
        yield f"{place}: {value!r} is no {kind}"
        return
    if isinstance(value, dict):
        yield from (f"{place}.{name}: is missing" for name in schema.get("required", []) if name not in value)
        for name, inside in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(known, dict):
                yield from problems(inside, known, f"{place}.{name}")
            elif not (schema.get("x-kubernetes-preserve-unknown-fields") or not schema.get("properties")):
                yield f"{place}.{name}: is not known"
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from problems(inside, schema.get("items", {}), f"{place}[{number}]")


@pytest.mark.skipif("RETORT_KSERVE_CRD" not in os.environ, reason="RETORT_KSERVE_CRD names no schema of KServe")
@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_the_manifest_is_valid_by_kserves_own_schema(run: Run, gpus: int) -> None:
    crd = yaml.load(Path(os.environ["RETORT_KSERVE_CRD"]).read_text(), Loader=yaml.CSafeLoader)
    (version,) = (one for one in crd["spec"]["versions"] if one["name"] == "v1beta1")
    schema = version["schema"]["openAPIV3Schema"]
    made = manifest(run(), "s3://bucket/math", gpus=gpus, namespace="ml", service_account="s3", max_length=2048)
    assert list(problems(made, schema)) == []
    made["spec"]["predictor"]["model"]["storageURI"] = "s3://bucket/math"  # what a slip of the pen would be
    del made["spec"]["predictor"]["model"]["modelFormat"]["name"]
    assert [one.rpartition(": ")[2] for one in problems(made, schema)] == ["is missing", "is not known"]


def test_vllm_serves_on_gpus_and_transformers_without(run: Run) -> None:
    student = run()
    model = manifest(student, "s3://bucket/math", gpus=2, max_length=2048)["spec"]["predictor"]["model"]
    assert model["args"] == ["--model_name=first", "--backend=vllm", "--tensor-parallel-size=2", "--max-model-len=2048"]
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert model["storageUri"] == "s3://bucket/math"
    bare = manifest(student, "hf://me/math", gpus=0)["spec"]["predictor"]["model"]
    assert "--backend=huggingface" in bare["args"]
    assert "nvidia.com/gpu" not in bare["resources"]["limits"]


def test_who_finds_it_on_the_cluster_learns_which_run_it_is(run: Run) -> None:
    made = manifest(run(), "s3://bucket/math")["metadata"]["annotations"]
    assert made["retort.run"] == "first"
    assert made["retort.accuracy"] == "0.9000 on heldout"


def test_names_and_addresses_that_kserve_refuses_are_refused_here(run: Run) -> None:
    student = run("Weekly_2026.11")
    assert manifest(student, "s3://b/x")["metadata"]["name"] == "weekly-2026-11"
    with pytest.raises(ConfigError, match="KServe fetches models from s3://"):
        manifest(student, "out")
    with pytest.raises(ConfigError, match="a letter first"):
        manifest(student, "s3://b/x", name="1st")


def test_the_verb_takes_the_last_export_and_writes_a_file(run: Run, home: Path) -> None:
    student = run()
    assert "was not exported yet" in str(CliRunner().invoke(app, ["deploy", "first"]).exception)
    (home / "bucket").mkdir()
    export(student, f"file://{home}/bucket/math")
    assert "KServe fetches models from" in str(CliRunner().invoke(app, ["deploy", "first"]).exception)
    done = CliRunner().invoke(
        app, ["deploy", "first", "--uri", "s3://b/x", "--to", "isvc.yaml"], catch_exceptions=False
    )
    assert done.stdout == "kubectl apply -f isvc.yaml\n"
    assert yaml.safe_load(Path("isvc.yaml").read_text())["kind"] == "InferenceService"
