"""Stage `reward`: the metrics are those of prompts that chose nothing, and tables that cannot serve are refused."""

from __future__ import annotations

import json

import pytest
import torch

from retort.errors import InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.chat import response_ids
from retort.modeling.loading import load_model, load_tokenizer, read_reference
from retort.rewards.learned.halves import held_out_part
from retort.rewards.learned.model import RewardModel
from retort.rewards.learned.quality import measure
from retort.run.paths import Paths
from retort.run.stage import run_stage

LEARNED = {"reward": "learned"}


def predictions(root):
    return tables.read_table(root / "outputs/rewards/learned/validation.parquet", tables.REWARD_PREDICTIONS)


def test_the_gate_is_measured_on_student_responses_to_prompts_that_chose_nothing(training_root):
    root = training_root()
    metrics = run_stage("reward", LEARNED, root)
    rows = predictions(root)
    assert [row["part"] for row in rows] == [held_out_part(row["prompt_id"]) for row in rows]
    gate = [row for row in rows if row["part"] == "gate" and row["source"] == "sft"]
    expected = measure([row["label"] for row in gate], [row["score"] for row in gate])
    assert metrics["n"] == len(gate) < len(rows)
    for name in ("auc", "accuracy", "brier", "calibration_error"):
        assert metrics[name] == pytest.approx(getattr(expected, name), abs=1e-6)
        low, high = metrics["intervals"][name]
        assert 0 <= low <= metrics[name] <= high <= 1
    assert metrics["by_source"]["sft"]["auc"] == metrics["auc"]
    # The truth is known of every row here and equals the label.
    assert metrics["truth"]["n"] == 2 * len(gate)
    assert metrics["gate_passed"] == (not metrics["gate_reasons"])
    assert json.loads((root / "metrics/reward-learned.json").read_text()) == metrics


def test_the_scores_in_the_table_are_those_of_the_saved_model(training_root):
    root = training_root(reward={"trunk": "teacher", "likelihood": ["teacher", "sft"]})
    run_stage("reward", LEARNED, root)
    folders = {name: Paths(root).model(name) for name in ("teacher", "sft")}
    model = RewardModel.load(root / "outputs/rewards/learned", folders)
    examples = tables.read_table(Paths(root).reward_data("learned", "validation"), tables.REWARD_EXAMPLES)
    found = model.score(*([row[name] for row in examples] for name in ("prompt", "response", "finished")))
    assert found.tolist() == pytest.approx([row["score"] for row in predictions(root)], abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"loss": "every_token", "class_weight": 2.0, "lora": {"rank": 2}}])
def test_two_runs_write_the_same_bytes(training_root, changes):
    hashes = []
    for name in ("one", "two"):
        root = training_root(name, reward=changes)
        run_stage("reward", LEARNED, root)
        hashes.append([content_hash(root / part) for part in ("outputs/rewards/learned", "metrics", "curves")])
    assert hashes[0] == hashes[1]


def test_figures_by_length_part_the_gate_s_responses_into_thirds(training_root):
    root = training_root()
    file = Paths(root).reward_data("learned", "validation")
    rows = tables.read_table(file, tables.REWARD_EXAMPLES)
    for place, row in enumerate(rows):
        row["response"] = f"#### {row['response'][5:]}" + " 1" * (place % 3 * 4)  # 4 tokens, then 8, then 12 more
    tables.write_table(file, rows, tables.REWARD_EXAMPLES)
    metrics = run_stage("reward", LEARNED, root)
    thirds = metrics["by_length"]
    assert len(thirds) == 3
    assert sum(third["quality"]["n"] for third in thirds) == metrics["truth"]["n"]
    bounds = [bound for third in thirds for bound in (third["shortest"], third["longest"])]
    assert bounds == sorted(bounds)
    assert bounds[1] < bounds[2]
    assert bounds[3] < bounds[4]
    tokenizer = load_tokenizer(Paths(root).model("sft"))
    lengths = [len(response_ids(tokenizer, row["response"], finished=True)) for row in rows]
    for third in thirds:
        mine = [
            row
            for row, length in zip(predictions(root), lengths, strict=True)
            if row["part"] == "gate" and third["shortest"] <= length <= third["longest"]
        ]
        expected = measure([row["label"] for row in mine], [row["score"] for row in mine])
        assert third["quality"]["n"] == len(mine) > 0
        assert third["quality"]["brier"] == pytest.approx(expected.brier, abs=1e-6)


def test_a_gate_by_interval_refuses_what_its_estimates_would_pass(training_root):
    def run(name, **bounds):
        root = training_root(name, reward={"steps": 40, "learning_rate": 3e-3, "evaluate_steps": 20} | bounds)
        for split in ("train", "validation"):
            file = Paths(root).reward_data("learned", split)
            rows = tables.read_table(file, tables.REWARD_EXAMPLES)
            for row in rows:
                row["response"] = f"so #### {64 if row['label'] else 46}"
            gate = [row for row in rows if row["source"] == "sft" and held_out_part(row["prompt_id"]) == "gate"]
            for row in gate:  # one prompt's labels exchanged, which no model can tell
                row["label"] = 1 - row["label"] if row["prompt_id"] == gate[0]["prompt_id"] else row["label"]
            tables.write_table(file, rows, tables.REWARD_EXAMPLES)
        return run_stage("reward", LEARNED, root)

    first = run("one")
    low, estimate = first["intervals"]["auc"][0], first["auc"]
    assert low < estimate
    bounds = {"min_auc": (low + estimate) / 2, "max_calibration_error": 1.0, "min_per_class": 1}
    assert run("two", **bounds)["gate_passed"]
    refused = run("three", **bounds, gate="interval")
    assert not refused["gate_passed"]
    assert "(end of its 95 % interval)" in refused["gate_reasons"][0]


def other_tokens(folder):
    """Let the model of `folder` read single bytes, under other ids and another chat template."""
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text())
    words = list(settings["model"]["vocab"])
    special = {token["content"] for token in settings["added_tokens"]}
    ordinary = [word for word in words if word not in special]
    ids = [settings["model"]["vocab"][word] for word in ordinary]
    settings["model"]["vocab"] |= dict(zip(ordinary, reversed(ids), strict=True))
    settings["model"]["merges"] = []
    file.write_text(json.dumps(settings))
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|assistant|>", "<|assistant|> "))


@pytest.mark.parametrize("loss", ["last_token", "every_token"])
def test_a_trunk_from_a_teacher_of_another_tokenizer_works(training_root, loss):
    root = training_root(reward={"trunk": "teacher", "likelihood": ["teacher", "sft"], "loss": loss})
    folders = {name: Paths(root).model(name) for name in ("teacher", "sft")}
    other_tokens(folders["teacher"])
    run_stage("reward", LEARNED, root)
    model = RewardModel.load(root / "outputs/rewards/learned", folders)
    student = load_tokenizer(folders["sft"])
    assert not model.likelihood_models["teacher"].reads_like(student)
    assert len(model.encode("12 + 12 ?", "#### 24", True)[1]) == len("#### 24") + 1  # a token a byte
    model.check_reads_like(student, "sft")
    # The student itself may not change its tokenizer between the stages.
    other_tokens(folders["sft"])
    with pytest.raises(
        InputError, match=r"field 'reads\.sft': the head was trained with a likelihood model of another vocabulary"
    ):
        RewardModel.load(root / "outputs/rewards/learned", folders)


def in_bfloat16(root):
    for name in ("teacher", "sft"):
        folder = Paths(root).model(name)
        load_model(folder, dtype="bfloat16").save_pretrained(folder)
        assert read_reference(folder).dtype == "bfloat16"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_checkpointing": True},
        {"lora": {"rank": 2}, "gradient_checkpointing": True},
        {"train_trunk": False},
    ],
    ids=["whole", "sparing", "adapters", "head-alone"],
)
def test_a_bfloat16_student_s_reward_model_is_saved_as_it_was_measured(training_root, changes):
    root = training_root(reward=changes | {"steps": 8, "learning_rate": 1e-2})
    in_bfloat16(root)
    metrics = run_stage("reward", LEARNED, root)
    folders = {name: Paths(root).model(name) for name in ("teacher", "sft")}
    model = RewardModel.load(root / "outputs/rewards/learned", folders)
    weights = {name.replace(".base_layer", ""): value for name, value in model.trunk.state_dict().items()}
    adapters = {name: weights.pop(name) for name in list(weights) if "lora" in name}
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    before = load_model(folders["sft"]).state_dict()
    moved = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert bool(moved) == (changes.get("train_trunk", True) and "lora" not in changes)
    assert any(value.any() for name, value in adapters.items() if "lora_B" in name) == ("lora" in changes)
    examples = tables.read_table(Paths(root).reward_data("learned", "validation"), tables.REWARD_EXAMPLES)
    found = model.score(*([row[name] for row in examples] for name in ("prompt", "response", "finished")))
    assert found.tolist() == pytest.approx([row["score"] for row in predictions(root)], abs=2e-3)
    assert metrics["step"] in (2, 4, 6, 8)


def test_a_high_bar_is_not_passed_and_says_why(training_root):
    metrics = run_stage("reward", LEARNED, training_root(reward={"min_auc": 1.0, "min_per_class": 1000}))
    assert not metrics["gate_passed"]
    few, weak = metrics["gate_reasons"]
    assert "have the rarer label, fewer than min_per_class 1000" in few
    assert weak == f"AUC {metrics['auc']:.3f} on held-out prompts is below min_auc 1.0"


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("labels", "words"), [((1,), "of 1 class"), ((), "holds 0 examples of 0 class")])
def test_a_table_with_fewer_than_two_classes_is_named(training_root, split, labels, words):
    root = training_root()
    file = Paths(root).reward_data("learned", split)
    rows = [row for row in tables.read_table(file, tables.REWARD_EXAMPLES) if row["label"] in labels]
    tables.write_table(file, rows, tables.REWARD_EXAMPLES)
    with pytest.raises(InputError, match=rf"{split}\.parquet, field 'label': .*{words}.* Sample more responses"):
        run_stage("reward", LEARNED, root)
    assert not (root / "outputs/rewards/learned").exists()


def test_examples_that_are_all_too_long_name_the_setting(training_root):
    with pytest.raises(
        InputError, match=r"train\.parquet, .*no example of at most 8 tokens\. Raise reward\.max_length"
    ):
        run_stage("reward", LEARNED, training_root(reward={"max_length": 8}))


def test_one_class_left_by_the_length_limit_is_named(training_root):
    root = training_root(reward={"max_length": 40})
    file = Paths(root).reward_data("learned", "train")
    rows = tables.read_table(file, tables.REWARD_EXAMPLES)
    longer = [row | ({"response": "1 " * 60 + row["response"]} if row["label"] else {}) for row in rows]
    tables.write_table(file, longer, tables.REWARD_EXAMPLES)
    with pytest.raises(
        InputError,
        match=r"train\.parquet, field 'label': holds only label 0 among examples of at most 40 tokens\. Raise",
    ):
        run_stage("reward", LEARNED, root)


def test_one_label_among_the_prompts_that_choose_the_step_is_named(training_root):
    root = training_root()
    file = Paths(root).reward_data("learned", "validation")
    rows = tables.read_table(file, tables.REWARD_EXAMPLES)
    kept = [row for row in rows if row["label"] or held_out_part(row["prompt_id"]) == "gate"]
    tables.write_table(file, kept, tables.REWARD_EXAMPLES)
    with pytest.raises(
        InputError,
        match=r"validation\.parquet, field 'label': leaves one label \(1\) to choose the step by\. Hold more",
    ):
        run_stage("reward", LEARNED, root)


@pytest.mark.parametrize(("part", "words"), [("select", "measure the gate on"), ("gate", "choose the step by")])
def test_too_few_held_out_prompts_are_refused_before_training(training_root, part, words):
    root = training_root()
    file = Paths(root).reward_data("learned", "validation")
    rows = [row for row in tables.read_table(file, tables.REWARD_EXAMPLES) if held_out_part(row["prompt_id"]) == part]
    tables.write_table(file, rows, tables.REWARD_EXAMPLES)
    with pytest.raises(
        InputError, match=rf"validation\.parquet, .*leaves no prompt to {words}\. Hold more prompts out"
    ):
        run_stage("reward", LEARNED, root)
    assert not (root / "curves/learned").exists()
