"""Each alarm: curves that must raise it, and curves just short of it."""

from __future__ import annotations

import pytest

from retort.config.training import AlarmsConfig
from retort.trainers.ppo.alarms import new_alarms

CALM = {"reward": 0.5, "entropy": 0.4, "kl": 2.0, "response_tokens": 30.0, "finished": 0.9}
CALM |= {"score": 0.5, "score_deviation": 0.2}


def kinds(last, *, first=None, config=None, raised=frozenset(), warmup=1):
    """Kinds of alarm after one iteration of warm-up, three of `first` and three of `last`."""
    history = [CALM] * warmup + [CALM | (first or {})] * 3 + [CALM | last] * 3
    found = new_alarms(history, config or AlarmsConfig(window=3), warmup=warmup, raised=set(raised))
    return [alarm.kind for alarm in found]


def test_calm_curves_raise_none():
    assert kinds({}) == []


@pytest.mark.parametrize(
    ("kind", "first", "over", "short"),
    [
        ("reward_gamed", {"agreement": 0.8}, {"reward": 0.6, "agreement": 0.7}, {"reward": 0.6, "agreement": 0.76}),
        ("reward_gamed", {"agreement": 0.8}, {"reward": 0.6, "agreement": 0.7}, {"reward": 0.5, "agreement": 0.7}),
        ("entropy_collapse", {}, {"entropy": 0.039}, {"entropy": 0.041}),
        ("cut_off", {}, {"finished": 0.0}, {"finished": 0.01}),
        ("no_signal", {}, {"score_deviation": 0.0}, {"score_deviation": 0.01}),
        ("kl_runaway", {}, {"kl": 50.1}, {"kl": 49.9}),
        ("length_drift", {}, {"response_tokens": 45.1}, {"response_tokens": 44.9}),
        ("length_drift", {}, {"response_tokens": 14.9}, {"response_tokens": 15.1}),
    ],
)
def test_an_alarm_is_raised_past_its_threshold_and_not_before(kind, first, over, short):
    assert kinds(over, first=first) == [kind]
    assert kinds(short, first=first) == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"finished": 0.0}, "every response was cut off, after 30 tokens. Raise ppo.max_new_tokens"),
        ({"score_deviation": 0.0}, "gives every response the same score, 0.5. Look at its reliability"),
    ],
)
def test_what_cannot_teach_anything_is_said_at_once(broken, words):
    (alarm,) = new_alarms([CALM | broken], AlarmsConfig(), warmup=5, raised=set())
    assert words in alarm.message


def test_an_alarm_is_raised_once():
    assert kinds({"kl": 99.0}, raised={"kl_runaway"}) == []


def test_the_warm_up_and_the_first_window_raise_none():
    rows = [CALM | {"kl": 99.0}] * 4
    assert new_alarms(rows, AlarmsConfig(window=3), warmup=1, raised=set()) == []
    assert new_alarms(rows, AlarmsConfig(window=2), warmup=1, raised=set())[0].kind == "kl_runaway"


def test_the_message_has_the_figures_and_the_remedy():
    history = [CALM | {"agreement": 0.8}] * 2 + [CALM | {"reward": 0.75, "agreement": 0.6}] * 2
    (alarm,) = new_alarms(history, AlarmsConfig(window=2), warmup=0, raised=set())
    assert alarm.iteration == 4
    assert "rose from 0.500 to 0.750 while held-out agreement fell from 0.800 to 0.600" in alarm.message
    assert "ppo.kl.coefficient" in alarm.message


def test_an_alarm_stops_training_where_it_is_told_to(make_models, ppo_config, tmp_path):
    from retort.trainers.ppo.trainer import train

    ran = {}
    for action in ("warn", "stop"):
        config = ppo_config(iterations=6, alarms=AlarmsConfig(action=action, window=1, max_kl=1e-9), learning_rate=0.05)
        folder = tmp_path / action
        folder.mkdir()
        state = train(
            make_models(), config, "number", seed=0, state_folder=folder, curves_folder=tmp_path / f"{action}-c"
        )
        assert "kl_runaway" in [alarm.kind for alarm in state.alarms]
        ran[action] = state.iteration
    assert ran["warn"] == 6
    assert ran["stop"] < 6
