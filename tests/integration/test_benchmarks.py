"""Public benchmarks on real rows, without network: two tiny models through the stage, then compared item by item."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.io import tables
from retort.modeling.loading import Reference, write_reference
from retort.run.stage import run_stage
from tests.conftest import write_params

pytestmark = pytest.mark.timeout(900)
"""Importing the harness takes long on a machine that is busy."""

ROOT = Path(__file__).parents[2]
BENCHMARKS = [
    {
        "name": "gsm8k",
        "task": "gsm8k_cot",
        "data": {"test": "gsm8k.jsonl.gz"},
        "num_fewshot": 1,  # eight would not fit the tiny models' context
        "limit": 12,
    },
    {"name": "gsm_plus", "task": "gsm_plus_cot", "data": {"test": "testmini.jsonl.gz"}, "num_fewshot": 1, "limit": 16},
    {
        "name": "mmlu_pro",
        "task": "mmlu_pro",
        "data": {"test": "test.jsonl.gz", "validation": "validation.jsonl.gz"},
        "num_fewshot": 0,
        "limit": 1,
        "max_new_tokens": 12,  # the task's 2,048 would not fit either
    },
]


@pytest.fixture(scope="module")
def root(tmp_path_factory, offline):
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(ROOT / "data/gsm8k/gsm8k_test_questions.jsonl.gz", folder / "gsm8k.jsonl.gz")
    for name in ("gsm_plus/testmini", "mmlu_pro/test", "mmlu_pro/validation"):
        shutil.copy(ROOT / f"tests/data/{name}.jsonl.gz", folder)
    for role, model in (("base", "tiny-llama"), ("sft", "tiny-qwen2")):
        shutil.copytree(ROOT / "data/gsm8k" / model, folder / model)
        write_reference(folder / "outputs/models" / role, Reference(model))
    evaluate = {"benchmarks": BENCHMARKS, "max_new_tokens": 12, "batch_size": 16}
    (folder / "outputs/prompts").mkdir(parents=True)
    tested = [file for one in BENCHMARKS for file in one["data"].values()]
    write_params(folder, evaluate=evaluate, prompts={"decontaminate": tested})
    return folder


@pytest.fixture(scope="module")
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")  # a data set that is not here must not be looked for elsewhere
        yield patch


@pytest.mark.parametrize(
    ("benchmark", "items", "groups"), [("gsm8k", 12, 12), ("gsm_plus", 16, 2), ("mmlu_pro", 14, 14)]
)
def test_each_benchmark_runs_offline_on_real_rows(root, benchmark, items, groups):
    for model in ("base", "sft"):
        metrics = run_stage("evaluate", {"model": model, "benchmark": benchmark}, root)
        rows = tables.read_table(root / f"outputs/evaluate/{model}-{benchmark}.parquet", tables.RESULTS)
        assert metrics["items"] == len(rows) == items
        assert len({row["group_id"] for row in rows}) == groups
        assert set(Counter(row["subtask"] for row in rows).values()) <= {1, 12, 16}
        for name, value in metrics["harness"].items():
            assert value == pytest.approx(sum(dict(row["harness"])[name] for row in rows) / items)
        assert all(0 < row["response_tokens"] <= 12 < row["prompt_tokens"] for row in rows)
        assert metrics["flops"] > 0


def test_two_models_are_compared_on_the_questions_behind_the_variants(root):
    files = []
    for model in ("base", "sft"):
        file = root / f"outputs/evaluate/{model}-gsm_plus.parquet"
        if not file.exists():
            run_stage("evaluate", {"model": model, "benchmark": "gsm_plus"}, root)
        files.append(str(file))
    shown = CliRunner().invoke(app, ["compare", *files, "--json"])
    found = json.loads(shown.stdout)
    assert (found["n"], found["groups"], found["left_out"], found["test"]) == (16, 2, 0, "sign_flip")
    rows = [tables.read_table(Path(file), tables.RESULTS) for file in files]
    accuracies = [sum(row["score"] for row in one) / 16 for one in rows]
    assert found["difference"] == pytest.approx(accuracies[0] - accuracies[1])
    words = CliRunner().invoke(app, ["compare", *files]).stdout
    assert "16 items from 2 sources" in words
    assert "models exchanged within whole sources" in words
