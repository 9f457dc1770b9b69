"""A run's student as a KServe InferenceService: KServe's Hugging Face runtime, which serves with vLLM.

Fields: `serving.kserve.io/v1beta1`, https://kserve.github.io/website/docs/reference/crd-api.
"""

from __future__ import annotations

import re
from typing import Any

from retort.errors import ConfigError
from retort.handover.student import Student

SCHEMES = ("s3://", "hf://", "pvc://", "gs://", "https://", "oci://")
"""Addresses that KServe's storage initializer fetches models from."""


def manifest(
    student: Student,
    uri: str,
    *,
    name: str | None = None,
    namespace: str | None = None,
    gpus: int = 1,
    service_account: str | None = None,
    max_length: int | None = None,
) -> dict[str, Any]:
    """The InferenceService.

    Args:
        student: The student.
        uri: Where KServe finds it, as `retort export` put it there.
        name: Of the service, the run's when left out; also what requests call the model.
        namespace: Where it is to be.
        gpus: GPUs of each replica; 0 serves on the CPU, with transformers.
        service_account: Its credentials for the object store.
        max_length: Longest prompt and response together, in tokens; the model's own when left out.

    Raises:
        ConfigError: the name is none of Kubernetes', or KServe fetches nothing from such an address.
    """
    if not uri.startswith(SCHEMES):
        raise ConfigError(f"{uri}: KServe fetches models from {', '.join(SCHEMES)}. Export the student to one of them.")
    name = name or re.sub(r"[^a-z0-9]+", "-", student.run.lower()).strip("-")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?", name):
        raise ConfigError(
            f"--name {name}: a service is named by up to 53 lower-case letters, digits and dashes, a letter first."
        )
    args = [f"--model_name={name}", f"--backend={'vllm' if gpus else 'huggingface'}"]
    args += [f"--tensor-parallel-size={gpus}"] if gpus > 1 else []
    args += [f"--max-model-len={max_length}"] if max_length is not None and gpus else []
    weights = sum(file.stat().st_size for file in student.folder.glob("*.safetensors"))
    gibibytes = max(4, -(-3 * weights // 2**30))  # read, converted and kept by the page cache
    needs: dict[str, str] = {"cpu": "2", "memory": f"{gibibytes}Gi"}
    needs |= {"nvidia.com/gpu": f"{gpus}"} if gpus else {}
    predictor: dict[str, Any] = {
        "minReplicas": 1,
        "model": {
            "modelFormat": {"name": "huggingface"},
            "protocolVersion": "v2",
            "args": args,
            "resources": {"requests": dict(needs), "limits": dict(needs)},
            "storageUri": uri,
        },
    }
    if service_account:
        predictor["serviceAccountName"] = service_account
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {"app.kubernetes.io/managed-by": "retort"},
        "annotations": _annotations(student),
    }
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }


def _annotations(student: Student) -> dict[str, str]:
    """Which run's student it is and what it is worth, for who finds it on the cluster."""
    found = {"retort.run": student.run, "retort.student": student.name, "retort.content": student.content}
    if "accuracy" in student.summary:
        found["retort.accuracy"] = f"{student.summary['accuracy']:.4f} on {student.report['benchmark']}"
    return found
