import pytest

from retort.data.sources import Prompt
from retort.data.split import split_prompts
from retort.errors import ConfigError


def prompts(count, use="split", start=0):
    return [Prompt(f"p{number}", f"text {number}", None, "f", number, use) for number in range(start, start + count)]


def ids(some):
    return {prompt.prompt_id for prompt in some}


def test_splits_are_disjoint_and_have_the_wanted_sizes():
    splits = split_prompts(prompts(100), seed=0, validation=20, test=10)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [70, 20, 10]
    assert len(ids(splits.train) | ids(splits.validation) | ids(splits.test)) == 100


def test_order_of_prompts_does_not_change_who_goes_where_but_the_seed_does():
    forward = split_prompts(prompts(100), seed=0, validation=20, test=10)
    backward = split_prompts(prompts(100)[::-1], seed=0, validation=20, test=10)
    other = split_prompts(prompts(100), seed=1, validation=20, test=10)
    assert ids(forward.validation) == ids(backward.validation) != ids(other.validation)


def test_sources_say_where_their_prompts_go():
    some = [*prompts(30), *prompts(10, "test", 30), *prompts(4, "validation", 40), *prompts(5, "train", 50)]
    splits = split_prompts(some, seed=0, validation=6, test=0)
    assert ids(splits.test) == {f"p{number}" for number in range(30, 40)}
    assert len(splits.validation) == 6  # four of its own source, two from those to divide
    assert ids(prompts(5, "train", 50)) <= ids(splits.train)


def test_limit_leaves_validation_and_test_alone():
    splits = split_prompts(prompts(100), seed=0, validation=20, test=10, limit=5)
    assert (len(splits.train), splits.unused) == (5, 65)
    whole = split_prompts(prompts(100), seed=0, validation=20, test=10)
    assert ids(splits.validation) == ids(whole.validation)


@pytest.mark.parametrize(
    ("count", "problem"), [(5, "prompts.validation asks for 20"), (20, "no prompt is left for training")]
)
def test_too_few_prompts_are_refused_with_the_remedy(count, problem):
    with pytest.raises(ConfigError, match=problem):
        split_prompts(prompts(count), seed=0, validation=20, test=0)


def test_unlabelled_prompts_come_from_their_sources_then_from_beyond_the_limit():
    some = [*prompts(50), *prompts(7, "unlabelled", 50)]
    splits = split_prompts(some, seed=0, validation=10, test=5, limit=20, unlabelled=12)
    assert [len(splits.train), len(splits.unlabelled), splits.unused] == [20, 12, 10]  # 57 - 10 - 5 - 20 - 12
    assert {f"p{number}" for number in range(50, 57)} <= ids(splits.unlabelled)
    assert not ids(splits.unlabelled) & (ids(splits.train) | ids(splits.validation) | ids(splits.test))
    capped = split_prompts(some, seed=0, validation=10, test=5, limit=20, unlabelled=3)
    assert ids(capped.unlabelled) < {f"p{number}" for number in range(50, 57)}


def test_how_many_are_unlabelled_changes_no_other_use():
    few = split_prompts(prompts(100), seed=0, validation=10, test=5, limit=20, unlabelled=1)
    many = split_prompts(
        [*prompts(100), *prompts(9, "unlabelled", 100)], seed=0, validation=10, test=5, limit=20, unlabelled=70
    )
    assert (few.train, few.validation, few.test) == (many.train, many.validation, many.test)
    assert ids(
        split_prompts(prompts(9, "unlabelled") + prompts(9, start=9), seed=0, validation=2, test=0).unlabelled
    ) == {f"p{number}" for number in range(9)}


def test_too_few_unlabelled_prompts_are_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"asks for 80 prompts, but only 4 of sources .* and 65 training .* Lower"):
        split_prompts(
            [*prompts(95), *prompts(4, "unlabelled", 95)], seed=0, validation=10, test=0, limit=20, unlabelled=80
        )
    with pytest.raises(ConfigError, match="no prompt is left for training: validation has 2, test 0, 4 are unlabelled"):
        split_prompts([*prompts(2), *prompts(4, "unlabelled", 2)], seed=0, validation=2, test=0)
