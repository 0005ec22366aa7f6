"""Signs that a run goes wrong are told once each, and never of a run that does not."""

import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from amago_jax.runs.divergence import SIGNS, Divergence

RESULTS = Path(__file__).parents[2] / "docs/results"
# Runs that learned: what is watched of each epoch.
LONG = sorted((Path(__file__).parent / "healthy").glob("*.jsonl"))
LONG += sorted((RESULTS / "hindsight").rglob("metrics.jsonl"))
OTHERS = sorted(set(RESULTS.rglob("metrics.jsonl")) - set(LONG))
FINE = {"saturated": 0.0, "largest_observation": 1.0, "largest_reward": 1.0}
ROW = {
    "actor/entropy": 1.3,
    "actor/filter_accepted": 0.3,
    "gradient/norm": 20.0,
    "train/return": 0.5,
    "value/q": 3.0,
    "value/v": 2.0,
}


def watcher(kind="discrete", uses_advantage=True, reward_multiplier=10.0):
    agent = SimpleNamespace(
        reward_multiplier=reward_multiplier,
        gammas=(0.1, 0.9),
        action_size=2,
        distribution=SimpleNamespace(kind=kind),
        advantage_filter=SimpleNamespace(uses_advantage=uses_advantage),
    )
    return Divergence(SimpleNamespace(agent=agent, hindsight=None))


def told(rows, watch=None, usual=ROW):
    """Return what is told of rows, each what differs from a healthy one and its epoch's health."""
    watch = watch or watcher()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, (row, health) in enumerate(rows, start=1):
            watch.watch({"epoch": float(epoch)} | usual | row, FINE | health)
    return [str(warning.message) for warning in caught]


def going_wrong(changes, health=None):
    return [({}, {})] + [(changes, health or {})] * 25


WRONG = {
    "saturated": (going_wrong({}, {"saturated": 1.0}), r"in epoch 2, TD targets deviate by .*"),
    "observations": (going_wrong({}, {"largest_observation": 1e20}), "observations reached 1e+20"),
    "values": (going_wrong({"value/q": -1e5}), "in epoch 4, values are 1e+05 on average, where no"),
    "gradients": (going_wrong({"gradient/norm": 1e6}), "gradients are 1e+06 long, 5e+04 times"),
    "filter": (going_wrong({"actor/filter_accepted": 0.0}), "passes next to nothing (0% of"),
    "entropy": (going_wrong({"actor/entropy": 0.01}), "entropy is 0.01 nats, of 1.3 at first"),
}


def test_every_sign_is_tried():
    assert WRONG.keys() == SIGNS.keys()


@pytest.mark.parametrize("kind", WRONG)
def test_a_sign_is_told_once_with_advice(kind):
    rows, said = WRONG[kind]
    watch = watcher()
    (sentence,) = told(rows, watch)
    assert said.rstrip(".*") in sentence
    assert any(word in sentence for word in ("try ", "scale ", "raise "))
    assert watch.told == {kind}
    assert told(rows, watch) == []


@pytest.mark.parametrize("kind", WRONG)
def test_what_shows_for_less_long_is_not_told(kind):
    rows, _ = WRONG[kind]
    epochs = SIGNS[kind][1]
    fine = [({}, {})]
    assert told((fine + rows[1:epochs]) * 3 + fine) == []


@pytest.mark.parametrize(
    ("rows", "watch"),
    [
        # A policy that has learned need not explore.
        (going_wrong({"actor/entropy": 0.01, "train/return": 0.9}), watcher()),
        (going_wrong({"actor/entropy": 0.01, "train/return": math.nan}), watcher()),
        (going_wrong({"actor/entropy": -4.0}), watcher("continuous")),
        (going_wrong({"actor/filter_accepted": 0.0, "train/return": 0.9}), watcher()),
        # Cloning has no filter; values may be as large as rewards are.
        (going_wrong({"actor/filter_accepted": 1.0}), watcher(uses_advantage=False)),
        (going_wrong({"value/q": 1e5}, {"largest_reward": 500.0}), watcher()),
        (going_wrong({"value/q": 90.0}), watcher(reward_multiplier=1e-3)),
        (going_wrong(dict.fromkeys(ROW, math.nan)), watcher()),
    ],
)
def test_what_is_no_sign_is_not_told(rows, watch):
    assert told(rows, watch) == []


def test_a_filter_that_passes_everything_and_continuous_actions_that_are_one():
    (said,) = told(going_wrong({"actor/filter_accepted": 1.0}))
    assert "passes everything (100% of actions)" in said
    assert "its term teaches whatever was done" in said
    (said,) = told(going_wrong({"actor/entropy": -9.0}), watcher("continuous"))
    assert "entropy is -9 nats" in said


def test_what_was_at_first_is_known_of_a_run_that_goes_on_and_not_of_weights_from_elsewhere():
    rows = going_wrong({"actor/filter_accepted": 0.0})[1:]
    better = watcher()
    better.remember([{"epoch": 1.0, "train/return": -1.0}])
    elsewhere = watcher()
    elsewhere.remember([], learned_before=True)
    assert [len(told(rows, watch)) for watch in (watcher(), better, elsewhere)] == [1, 0, 0]


def test_settings_that_change_are_judged_by_as_they_are_then():
    watch, other = watcher(), watcher(reward_multiplier=0.01)
    watch.follow(SimpleNamespace(agent=other._agent))
    (said,) = told([({}, {"saturated": 1.0})], watch, {})
    assert "reward_multiplier=0.01" in said


def name_of(path):
    return "/".join(path.parts[-4:-1])


@pytest.mark.parametrize("path", LONG, ids=name_of)
def test_nothing_is_told_of_the_runs_that_are_kept(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) >= 30
    assert told([(row, {}) for row in rows], usual={}) == []


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_nor_of_those_that_may_be_short(path):
    # A file says null of what is NaN in a row.
    read = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [{k: math.nan if x is None else x for k, x in row.items()} for row in read]
    assert rows
    assert told([(row, {}) for row in rows], usual={}) == []
