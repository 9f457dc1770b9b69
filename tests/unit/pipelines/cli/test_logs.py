"""`retort logs`: of every pod, of one shard, the last lines, and while a run goes on."""

import pytest

from retort.pod.run_records import Failure, Records
from tests.kubeflow_server.cluster import STORE

LOOK = "GET /apis/v2beta1/runs/"
LOOP = (
    "teacher-responses-tasks(0).for-loop-1(0).iteration-iterations({0}:{0})(0).iteration-item(0).teacher-responses(0)"
)


@pytest.fixture
def run(cluster):
    """A run with two shards of the teacher, a failed attempt at SFT and another one."""
    run = cluster.submitted()
    for item in ("0", "1"):
        node = f"{LOOP.format(item)}.teacher-responses(0).executor(0)"
        cluster.pod(run, f"teacher-{item}", node, item=item, said=[f"shard {item}\n".encode(), b"done\n"])
    cluster.pod(run, "sft-0", "sft-sft(0).executor(0)", said=[b"first\n"])
    cluster.pod(run, "sft-1", "sft-sft(0).executor(1)", said=[b"one\n", b"two\n", b"three\n"])
    cluster.pod(run, "more", "reward-data-learned(0).executor(0)", said=[b"other\n"])
    cluster.pod("another-run", "alien", "sft-sft(0).executor(0)", said=[b"alien\n"])
    return run


def test_every_attempt_is_shown_oldest_first_and_no_other_stage_or_run(cluster, run):
    out, err = cluster.retort("logs", "a", "sft")
    assert out == "first\none\ntwo\nthree\n"
    assert err == "--- sft-0\n--- sft-1\n"
    assert cluster.retort("logs", "a", "sft-sft")[0] == out  # a group of tasks, as `status` names it
    assert cluster.retort("logs", "a", "reward_data")[0] == "other\n"
    _, err = cluster.retort("logs", "a", "reward", code=69)
    assert "no pod of stage reward is left" in err


def test_the_last_lines_of_each_pod(cluster, run):
    assert cluster.retort("logs", "a", "sft", "--tail", "1")[0] == "first\nthree\n"


def test_one_shard(cluster, run):
    assert cluster.retort("logs", "a", "teacher_responses", "--item", "1")[0] == "shard 1\ndone\n"
    _, err = cluster.retort("logs", "a", "teacher_responses", "--item", "7", code=64)
    assert "--item 7: no pod of stage teacher_responses has it; those that are there: 0, 1." in err
    _, err = cluster.retort("logs", "a", "sft", "--item", "0", code=64)
    assert "none, as the stage has one task" in err


def test_a_log_is_written_as_it_comes_and_never_held_whole(cluster, run):
    """Pieces are counted as they are asked for: the second is asked for when the first is written."""
    written = []

    def pieces():
        for number in range(50):
            yield b"x" * 65536
            written.append(number)

    cluster.kubernetes.logs["sft-0"] = pieces()
    out, _ = cluster.retort("logs", "a", "sft")
    assert len(out) == 50 * 65536 + len("one\ntwo\nthree\n")
    assert len(written) == 50


def test_follow_shows_pods_that_start_later_and_ends_with_the_run(cluster, run):
    def another():
        cluster.pod(run, "sft-2", "sft-sft(0).executor(2)", said=[b"again\n"])
        cluster.kubeflow.before.append((LOOK, lambda: cluster.end(run)))

    cluster.kubeflow.before += [(LOOK, lambda: None)] * 2 + [(LOOK, another)]
    out, err = cluster.retort("logs", "a", "sft", "--follow")
    assert out == "first\none\ntwo\nthree\nagain\n"
    assert err.count("--- ") == 3


def test_follow_waits_for_a_stage_that_has_not_begun(cluster, run):
    def begins():
        cluster.pod(run, "ppo", "ppo(0).executor(0)", said=[b"hello\n"])
        cluster.end(run)

    cluster.kubeflow.before += [(LOOK, lambda: None)] * 3 + [(LOOK, begins)]
    assert cluster.retort("logs", "a", "ppo", "--follow")[0] == "hello\n"


def test_a_pod_that_has_not_spoken_is_passed_over_and_said(cluster, run):
    del cluster.kubernetes.logs["sft-0"]
    out, err = cluster.retort("logs", "a", "sft")
    assert out == "one\ntwo\nthree\n"
    assert "sft-0: has no log (Not Found)" in err


def test_a_followed_log_that_breaks_off_is_gone_on_with(cluster, run):
    def broken():
        cluster.kubernetes.logs["sft-0"] = [b"rest\n"]
        yield b"begin\n"
        raise BrokenPipeError  # the connection is closed without an end

    cluster.kubernetes.logs["sft-0"] = broken()
    cluster.kubeflow.before += [(LOOK, lambda: None)] * 2 + [(LOOK, lambda: cluster.end(run))]
    out, err = cluster.retort("logs", "a", "sft", "--follow")
    assert out.startswith("begin\nrest\n")
    assert "the log broke off" in err
    assert "going on" in err


def test_when_pods_are_gone_a_failed_stages_last_words_are_shown(cluster):
    run = cluster.submitted()
    for task in ("sft-sft", "evaluate-ppo-heldout", "evaluate-sft-heldout"):
        Records.of(STORE, run).keep_failure(Failure(task, f"pod-{task}", 65, f"why {task}", ["last line"]))
    out, err = cluster.retort("logs", "a", "sft")
    assert (out, err) == ("last line\nwhy sft-sft\n", "--- pod-sft-sft (last lines)\n")
    assert (
        cluster.retort("logs", "a", "evaluate", "--item", "ppo-heldout")[0] == "last line\nwhy evaluate-ppo-heldout\n"
    )
    _, err = cluster.retort("logs", "a", "ppo", code=69)
    assert "no pod of stage ppo is left in retort" in err


def test_an_unknown_stage_is_refused_with_those_that_there_are(cluster, run):
    _, err = cluster.retort("logs", "a", "sftt", code=64)
    assert "unknown stage 'sftt'; did you mean 'sft'?" in err


def test_refusals_of_kubernetes_are_said_with_a_remedy(cluster, run):
    cluster.kubernetes.forbidden.add(("list", "pods"))
    _, err = cluster.retort("logs", "a", "sft", code=69)
    assert "forbidden Ask for that right" in err
    cluster.kubernetes.token = "another"
    _, err = cluster.retort("logs", "a", "sft", code=69)
    assert "Sign in again" in err
