"""The plan of a whole run: arithmetic by hand, what is not known, what is printed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from retort.cli.run import _reproduce
from retort.errors import ConfigError, StageError
from retort.plan import learned_reward, ppo, sampling, sft, trace
from retort.plan.assumptions import Assumptions, count_prompts, rows_of
from retort.plan.devices import DEVICES, find
from retort.plan.memory import planned_memory
from retort.plan.table import lines
from retort.plan.trace import Bytes
from retort.plan.walk import plan
from retort.run.tasks import graph

from .conftest import PROMPT, RESPONSE

TINY = {"batch_size": 4, "max_new_tokens": RESPONSE}
STUDENTS = {
    "sft": {"method": "sft", "from": "base"},
    "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
    "sft_more": {"method": "sft", "from": "base", "compute_of": "ppo"},
}


@pytest.fixture
def setting(small):
    """Four prompts of 24 tokens to train on and two to validate on; responses of 40 tokens."""
    ppo = {"iterations": 3, "prompts_per_iteration": 4, "responses_per_prompt": 2, "minibatch_size": 4}
    ppo |= {"critic_warmup": 1, "critic_warmup_epochs": 4, "epochs": 2, "max_new_tokens": RESPONSE}
    on = small.setting(
        students=STUDENTS,
        prompts={"sources": [{"path": "prompts.jsonl"}], "validation": 2, "test": 5},
        student_responses=TINY | {"temperatures": [0.7, 1.0], "samples": 3},
        sft={"steps": 5, "batch_size": 4},
        reward={"batch_size": 4},
        ppo=ppo,
        evaluate={"models": ["sft"], **TINY},
    )
    return replace(on, assume=replace(on.assume, prompts=4))


def of_run(on):
    return plan(on.config, on.device, on.assume, on.root, processes=on.processes)


def test_flops_are_those_that_the_stages_will_report(setting):
    size = trace.parameters(setting.model("sft"))
    assert sft.plan(setting, "sft").work.flops == 6 * size * 5 * 4 * (PROMPT + RESPONSE)
    # Rollouts of 3 x 8 responses. Forward: policy, reference, critic, reward trunk, judge; training: policy and critic,
    # in one iteration 4 epochs (the critic's warm-up), in two 2 each.
    tokens = 24 * (PROMPT + RESPONSE)
    expected = 2 * 5 * size * tokens + 12 * size * tokens * (4 + 2 + 2) / 3
    assert ppo.plan(setting, "ppo").work.flops == pytest.approx(expected)
    # (4 + 2) prompts, two temperatures, three samples
    assert sampling.responses(setting, "sft", setting.config.student_responses).work.generated == 36 * RESPONSE
    assert sampling.evaluate(setting, "sft", setting.config.evaluate.benchmarks).work.generated == 5 * RESPONSE


def test_the_equal_compute_baseline_costs_what_sft_and_ppo_cost(setting):
    found = sft.plan(setting, "sft_more").work.flops
    assert found == pytest.approx(sft.plan(setting, "sft").work.flops + ppo.plan(setting, "ppo").work.flops)


def test_a_reward_model_of_adapters_costs_ppo_with_adapters_an_adapter_and_not_a_model(small):
    lora, weights = {"rank": 2, "alpha": 4}, {}
    for name, reward in (("whole", {}), ("adapter", {"lora": lora}), ("of the base", {"lora": lora, "trunk": "base"})):
        weights[name] = ppo.weights(small.setting(ppo={"lora": lora}, reward=reward), "ppo")
    size = trace.weights(small.setting().model("sft")).weights
    assert 0.8 * size < weights["whole"] - weights["adapter"] < size
    assert weights["of the base"] > weights["whole"]  # another model's adapter needs that model


def test_a_server_of_the_rollouts_holds_its_share_of_the_gpu_all_the_time(setting, small):
    sizes = {"prompts_per_iteration": 4, "responses_per_prompt": 2, "minibatch_size": 4}
    own = ppo.plan(small.setting(ppo=sizes), "ppo")
    engine = {"type": "vllm", "gpu_memory_utilization": 0.3}
    beside = ppo.plan(small.setting(ppo=sizes | {"rollout_engine": engine}), "ppo")
    taken = 0.3 * setting.device.memory_gb * 1e9
    assert 0 < beside.memory.total - taken <= own.memory.total  # sampling itself takes nothing of the trainer's
    assert beside.memory.cache > 0.9 * taken
    assert beside.hours != own.hours
    tight = {"type": "vllm", "gpu_memory_utilization": 1e-9}
    (note,) = ppo.plan(small.setting(ppo=sizes | {"rollout_engine": tight}), "ppo").notes
    assert "it will not start. Raise gpu_memory_utilization" in note


def test_a_faster_gpu_takes_less_time_and_none_of_it_changes_memory(setting):
    slow, fast = (replace(setting, device=find(name)) for name in ("A100-80", "H100-80"))
    assert sft.plan(slow, "sft").hours / sft.plan(fast, "sft").hours == pytest.approx(989 / 312)
    assert sft.plan(slow, "sft").memory == sft.plan(fast, "sft").memory


def test_what_depends_on_an_unknown_number_of_prompts_is_unknown(setting, small):
    on = replace(setting, assume=replace(setting.assume, prompts=None))
    found = sampling.responses(on, "sft", on.config.student_responses)
    assert found.work is None
    assert found.hours is None
    assert ppo.plan(on, "ppo").hours is not None
    assert count_prompts(setting.config, small.root) is None
    (small.root / "prompts.jsonl").write_text('{"prompt": "a"}\n' * 11 + "\n")
    assert rows_of(small.root / "prompts.jsonl") == 11
    assert count_prompts(setting.config, small.root) == 11 - 2 - 5


def test_four_processes_that_shard_hold_a_quarter_each_and_what_a_pass_gathers(small):
    sections = {name: {"sharding": "full_shard", "micro_batch_size": 1} for name in ("sft", "reward", "ppo")}
    one, four = small.setting(**sections), replace(small.setting(**sections), processes=4)
    rest, layer = trace.units(one.model("sft"))
    whole, trained = trace.weights(one.model("sft")).weights, rest + 3 * layer
    alone, together = sft.plan(one, "sft").memory, sft.plan(four, "sft").memory
    assert (alone.weights, alone.gradients, alone.optimizer) == (whole, trained, 2 * trained)
    # Shares; embedding and head, a layer and the next one, and gradients, whole while they are computed with.
    assert together.weights == whole / 4 + rest + 2 * layer
    assert together.gradients == trained / 4 + rest + layer
    assert together.optimizer == trained / 2
    assert together.activations == alone.activations
    # PPO: two copies of the policy are cut up, policy and critic only while they train; the frozen models are not.
    alone, together = ppo.plan(one, "ppo"), ppo.plan(four, "ppo")
    assert alone.peak == together.peak == "scoring by the reference"
    assert alone.memory.weights == pytest.approx(6 * whole, rel=1e-3)
    assert together.memory.weights == pytest.approx(4.5 * whole, rel=1e-3)
    assert together.memory.optimizer == alone.memory.optimizer / 4
    assert (
        learned_reward.plan(four, "learned").memory.optimizer
        == learned_reward.plan(one, "learned").memory.optimizer / 4
    )
    # Nothing is cut up where it is not asked for.
    plain = small.setting(sft={"micro_batch_size": 1})
    assert sft.plan(replace(plain, processes=4), "sft").memory == sft.plan(plain, "sft").memory


def test_the_plan_is_printed_with_its_assumptions_and_as_json(setting):
    found = of_run(setting)
    shown = "\n".join(lines(found))
    names = ["sft-sft", "student_responses-sft", "reward-learned", "ppo-ppo", "sft-sft_more", "evaluate-sft"]
    assert list(found.stages) == names
    assert all(name in shown for name in [*names, "4 training prompts of 24 tokens", ": fits."])
    assert "\nteacher_responses: teacher answers through the engine recorded: no GPU here" in shown
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["fits"] is True
    assert [stage["stage"] for stage in plain["stages"]] == names
    assert plain["peak_bytes"] == max(stage["bytes"]["total"] for stage in plain["stages"])
    assert plain["parameters"] == dict.fromkeys(["base", *STUDENTS], trace.parameters(setting.model("sft")))


def test_a_task_that_was_killed_is_told_what_was_planned_for_it(setting, monkeypatch, capsys):
    usual = plan(setting.config, setting.device, Assumptions.usual(), setting.root)
    most = usual.stages["ppo-ppo"].memory.total / 2**30
    words = planned_memory(setting.config, setting.root, "ppo-ppo")
    assert f"counts {most:.2f} GiB for ppo-ppo at its fullest (" in words
    assert planned_memory(setting.config, setting.root, "votes") is None  # no model in it
    assert planned_memory(setting.config, setting.root, "no-such-task") is None

    (setting.root / "params.yaml").write_text(json.dumps(setting.config.model_dump(mode="json", by_alias=True)))
    for killed in (True, False):

        def reproduce(*_, killed=killed, **__):
            raise StageError("ppo-ppo", 75, killed=killed)

        monkeypatch.setattr("retort.run.dvc_adapter.reproduce", reproduce)
        with pytest.raises(StageError):
            _reproduce(setting.root)
        assert (f"{words}.\n" in capsys.readouterr().err) == killed


def test_a_second_round_starts_where_the_first_ended_against_its_own_reward(small):
    rounds = {
        "sft": {"method": "sft", "from": "base"},
        "ppo": {"method": "ppo", "from": "sft", "reward": "learned", "lora": {"rank": 2, "alpha": 4}},
        "ppo2": {"method": "ppo", "from": "ppo", "reward": "learned2", "iterations": 7},
    }
    second = {"type": "model", "trunk": "ppo", "likelihood": ["sft", "ppo"], "responses": ["teacher", "sft", "ppo"]}
    on = small.setting(
        models={
            "teacher": {"engine": {"type": "recorded", "path": "unused.jsonl"}},
            "base": {"source": "student", "dtype": "bfloat16"},
        },
        students=rounds,
        rewards={"learned": {"type": "model", "steps": 3}, "learned2": second | {"steps": 3}},
        evaluate={"models": ["ppo2"]},
    )
    assert list(of_run(on).stages) == [
        *("sft-sft", "student_responses-sft", "reward-learned", "ppo-ppo"),
        *("student_responses-ppo", "reward-learned2", "ppo-ppo2", "evaluate-ppo2"),
    ]
    # PPO merges its adapters in float32, so the second round has twice the bytes of the first's start.
    assert [on.model(name).dtype for name in ("sft", "ppo", "ppo2")] == ["bfloat16", "float32", "float32"]
    size = trace.weights(on.model("sft")).weights
    assert trace.weights(on.model("ppo")).weights == pytest.approx(2 * size, rel=1e-3)
    # policy, critic, reference (a frozen model of the reward too) and trunk in float32; beside them the SFT student
    assert ppo.weights(on, "ppo2") == pytest.approx((4 * 2 + 1) * size, rel=1e-3)
    # the first reward reads one model's likelihood, the second one's two, of one more student's responses
    first, other = (learned_reward.plan(on, name).work for name in ("learned", "learned2"))
    assert other.read == pytest.approx(first.read * 3 / 2)
    assert other.reading_flops == pytest.approx(first.reading_flops * 2 * 3 / 2)
    assert ppo.plan(on, "ppo2").work.generated == 7 * 64 * 4 * 256


def test_students_of_three_sizes_are_planned_each_at_its_own(small):
    on = small.setting()
    models = on.config.model_dump(by_alias=True)["models"]
    models |= {"half": small.smaller("half", 48), "third": small.smaller("third", 32)}
    students = {f"sft_{name}": {"method": "sft", "from": name} for name in ("base", "half", "third")}
    found = of_run(small.setting(models=models, students=students, evaluate={"models": "all"}))
    sizes = found.as_json()["parameters"]
    assert len({sizes[name] for name in ("base", "half", "third")}) == 3
    assert all(sizes[f"sft_{name}"] == sizes[name] for name in ("base", "half", "third"))
    for name in ("base", "half", "third"):
        assert found.stages[f"evaluate-sft_{name}"].memory == found.stages[f"evaluate-{name}"].memory
        assert found.stages[f"sft-sft_{name}"].memory.gradients >= 4 * sizes[name]
    assert found.stages["sft-sft_base"].work.flops / found.stages["sft-sft_third"].work.flops == pytest.approx(
        sizes["base"] / sizes["third"]
    )
    assert "third: " in (shown := "\n".join(lines(found)))
    assert "as many have its students sft_third" in shown


def test_a_reward_without_a_model_takes_no_memory_and_says_what_is_not_counted(small):
    learned, vote = (
        small.setting(),
        small.setting(
            students=STUDENTS | {"ppo": {"method": "ppo", "from": "sft", "reward": "vote"}},
            rewards={"vote": {"type": "vote"}},
        ),
    )
    size, whole = trace.parameters(vote.model("sft")), trace.weights(vote.model("sft")).weights
    assert ppo.weights(vote, "ppo") == pytest.approx(3 * whole)  # policy, critic, reference
    assert ppo.weights(learned, "ppo") == pytest.approx(4 * whole)  # and the reward model's trunk
    found, other = ppo.plan(vote, "ppo").work, ppo.plan(learned, "ppo").work
    assert other.flops - found.flops == pytest.approx(2 * 2 * size * found.read)
    shown = "\n".join(lines(of_run(vote)))
    assert "reward-" not in shown
    assert "\nppo-ppo: rewards.vote is of type vote: no model on the GPU; compute and time of its scoring" in shown


def test_a_model_that_a_reward_of_the_projects_own_loads_is_held_and_its_scoring_not_counted(small):
    (small.root / "mine.py").write_text(
        "from retort import plugins\nfrom retort.config.base import Strict\n"
        "class Settings(Strict): ...\n"
        "REWARD = plugins.RewardType('mine', Settings, load=print, models=lambda settings: ['large'])\n"
    )
    models = {
        "teacher": {"engine": {"type": "recorded", "path": "unused.jsonl"}},
        "base": small.smaller("half", 48),
        "large": {"source": "student"},
    }
    rewards = {"mine": {"type": "mine.py:REWARD"}}
    on = small.setting(models=models, students={**STUDENTS, "ppo": {"method": "ppo", "from": "sft"}}, rewards=rewards)
    size, work = trace.parameters(on.model("base")), ppo.plan(on, "ppo").work
    assert ppo.weights(on, "ppo") == sum(trace.weights(on.model(name)).weights for name in ["base"] * 3 + ["large"])
    assert work.reading_flops == 2 * 2 * size * work.read  # reference and critic alone
    assert any(
        "rewards.mine is of type mine: on the GPU it has large; compute and" in note for note in of_run(on).notes
    )


def test_a_critic_that_starts_from_a_larger_reward_is_planned_at_that_size(small):
    models = {
        "teacher": {"engine": {"type": "recorded", "path": "unused.jsonl"}},
        "base": small.smaller("half", 48),
        "large": {"source": "student"},
    }
    reward = {"trunk": "large", "likelihood": ["sft"]}
    own, large = (
        small.setting(models=models, reward=reward, ppo={"critic_init": start}) for start in ("policy", "reward")
    )
    mine, other = (trace.weights(own.model(name)).weights for name in ("base", "large"))
    assert ppo.weights(own, "ppo") == 3 * mine + other
    assert ppo.weights(large, "ppo") == 2 * mine + 2 * other
    trained = sum(trace.weights(own.model(name)).gradients for name in ("base", "large"))
    found = ppo.plan(large, "ppo")
    assert found.peak.startswith("updating the critic with ")
    assert (found.memory.optimizer, found.memory.gradients) == (2 * trained, trained)


METHOD = """
from retort import plugins
from retort.config.training import OptimizerConfig

class ToyConfig(OptimizerConfig):
    steps: int = 3

def train(training): ...

METHOD = plugins.Method("toy", ToyConfig, train{plan})
"""


def toy(small, plan):
    (small.root / "toy.py").write_text(METHOD.format(plan=plan) if plan.startswith(",") or not plan else plan)
    students = {
        "sft": {"method": "sft", "from": "base"},
        "mine": {"method": "toy.py:METHOD", "from": "sft"},
        "sft_more": {"method": "sft", "from": "base", "compute_of": "mine"},
    }
    return small.setting(students=students, evaluate={"models": ["mine"]})


def test_a_method_without_a_plan_is_listed_and_leaves_the_hours_unknown(small):
    found = of_run(toy(small, ""))
    assert list(found.stages) == ["sft-sft", "toy-mine", "sft-sft_more", "evaluate-mine"]
    assert found.stages["evaluate-mine"].memory is not None  # it is as large as what it started from
    assert (found.hours, found.fits) == (None, None)
    shown = "\n".join(lines(found))
    assert "fits, but for stages that have no plan. Hours in all: unknown." in shown
    assert "\ntoy-mine: no plan: its method says none." in shown
    assert "\nsft-sft_more: how many steps the compute of mine adds is not known." in shown
    (stage,) = [one for one in found.as_json()["stages"] if one["stage"] == "toy-mine"]
    assert (stage["bytes"], stage["work"], stage["hours"]) == (None, None, None)


def test_a_method_of_the_projects_own_is_planned_by_its_own_function(small):
    planned = METHOD.format(plan=", plan=plan").replace(
        "METHOD =",
        "def plan(on, student):\n"
        "    from retort.plan.setting import StagePlan\n"
        "    from retort.plan.speed import Work\n"
        "    from retort.plan.trace import Bytes, parameters\n"
        "    work = Work(training_flops=parameters(on.start(student)) * on.config.settings(student).steps)\n"
        "    return StagePlan.fullest({'thinking': Bytes(weights=12)}, work, 7200.0)\n\n"
        "METHOD =",
    )
    on = toy(small, planned)
    found = of_run(on)
    stage = found.stages["toy-mine"]
    assert (stage.peak, stage.memory.total, stage.hours) == ("thinking", 12, 2.0)
    assert stage.work.flops == 3 * trace.parameters(on.model("base"))
    more, plain = (found.stages[name].work.flops for name in ("sft-sft_more", "sft-sft"))
    assert more == pytest.approx(plain + stage.work.flops)
    assert found.fits


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (", plan='retort.plan.nothing:plan'", r"method 'toy': its plan 'retort\.plan\.nothing:plan' cannot be found"),
        (", plan=lambda on, student: 3", "method 'toy': its plan returned a int, where a .*StagePlan is needed"),
    ],
)
def test_a_plan_that_is_none_is_refused(small, plan, words):
    with pytest.raises(ConfigError, match=words):
        of_run(toy(small, plan))


def test_engines_decide_what_stays_on_the_gpu_for_models_and_students_alike(small):
    elsewhere = {"engine": {"type": "openai", "base_url": "http://nowhere/v1", "model": "large"}}
    vllm = {"type": "vllm", "gpu_memory_utilization": 0.5}
    students = {"sft": {"method": "sft", "from": "base", "engine": vllm}, "ppo": STUDENTS["ppo"]}
    models = {"teacher": elsewhere, "base": {"source": "student"}}
    found = of_run(small.setting(models=models, students=students, evaluate={"models": "all"}))
    assert "teacher" not in found.as_json()["parameters"]
    assert "evaluate-teacher" not in found.stages
    shown = "\n".join(lines(found))
    for group in ("teacher_responses", "evaluate-teacher"):
        assert f"\n{group}: teacher answers through the engine openai: no GPU here" in shown
    for group in ("student_responses-sft", "evaluate-sft"):
        assert found.stages[group].memory.total == 0.5 * 80e9
        assert found.stages[group].peak == "vLLM, which takes 50% of the GPU"
    assert found.stages["evaluate-ppo"].peak == "decoding 64 rows"
    cramped = {"type": "vllm", "gpu_memory_utilization": 1e-5}
    students = {"sft": {"method": "sft", "from": "base", "engine": cramped}}
    found = of_run(small.setting(models=models, students=students, evaluate={"models": ["sft"]}))
    assert "\nevaluate-sft: the weights alone" in "\n".join(lines(found))


def test_every_task_that_runs_or_trains_a_model_is_planned_or_said_to_run_elsewhere(setting):
    on, found = setting, of_run(setting)
    said = {note.partition(":")[0] for note in found.notes}
    wanted = {task.group for task in graph(on.config, on.root) if task.stage.uses == "models"}
    assert wanted == {*found.stages, *(said & wanted)}
    assert all(stage.memory is not None for stage in found.stages.values())


def test_calls_of_a_judge_are_said_not_to_be_counted(small):
    judge = {"model": {"engine": {"type": "recorded", "path": "calls.parquet"}}, "method": "rubric"}
    shown = "\n".join(lines(of_run(small.setting(answer="open", judge=judge))))
    assert ", evaluate-sft: the judge's memory, compute and time are not counted." in shown
    assert "\nvotes, " in shown


def test_parts_of_a_peak_add_up_to_it():
    assert trace._split(100, gradients=20, logits=50) == Bytes(gradients=20, logits=50, activations=30)
    assert trace._split(60, gradients=20, logits=50).total == 60


def test_the_plan_scores_in_the_batches_that_ppo_scores_in():
    from retort.trainers.ppo.rollout import SCORING_BATCH

    assert ppo.SCORING_BATCH == SCORING_BATCH


def test_an_unknown_gpu_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"--gpu B200: not known\. Name one of .*H100-80"):
        find("B200")
    assert all(device.bandwidth_tb < device.memory_gb for device in DEVICES.values())
