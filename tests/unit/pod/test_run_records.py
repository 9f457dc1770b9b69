"""What a failed run says of itself."""

from retort_pipelines.cli.status import reasons

from retort.pod.run_records import Failure, summary

REASON = "retort: none of the 421 examples has at most 8 tokens. Raise sft.max_length."


def failure(pod, task="sft", code=65):
    return Failure(task, pod, code, f"stage {task} failed with exit code {code}", ["one", "two", "three", REASON])


def test_attempts_that_ended_alike_are_told_once_with_the_stages_own_words():
    told = reasons([failure("a"), failure("b"), failure("c"), failure("d", "ppo", 75)])
    assert [text.splitlines()[0] for text in told] == [
        "sft, pod a and 2 more, exit code 65:",
        "ppo, pod d, exit code 75:",
    ]
    assert told[0].splitlines()[1:] == [
        "  | two",
        "  | three",
        f"  | {REASON}",
        "  stage sft failed with exit code 65",
    ]


def test_the_summary_says_whether_another_attempt_may_help():
    text = summary("FAILED", "", [failure("a"), failure("b"), failure("c", code=75)])
    assert text.count("## sft") == 2  # two reasons
    assert "Pod `a` and 1 more, exit code 65: another attempt will fail as well." in text
    assert "Pod `c`, exit code 75: another attempt may help." in text
    assert text.count(REASON) == 2
