"""What is said of numbers that are none, and of those too large to learn from."""

import dataclasses
import warnings
from types import SimpleNamespace

import pytest

from amago_jax import ConfigError, TrainingError
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from amago_jax.runs.health import MOST_SKIPPED, Health

INF, NAN = float("inf"), float("nan")
UPDATES = 60
GOOD = {
    "epoch": 3.0,
    "epochs": 9.0,
    "train/not_finite": 0.0,
    "updates/skipped": 0.0,
    "health/first": 0.0,
    "health/loss": 1.5,
    "health/gradient/actor": 0.1,
    "health/gradient/critics": 0.2,
    "health/weights": 0.0,
    "health/saturated": 0.0,
    "health/largest_observation": 1.0,
    "health/largest_reward": 1.0,
}
BAD = {"updates/skipped": 4.0, "health/first": 6.0, "health/loss": INF}
BAD |= {"health/gradient/critics": NAN}


@dataclasses.dataclass
class Described:
    """What health needs of a trainer."""

    skip_not_finite: bool
    updates: int = UPDATES
    env: SimpleNamespace = dataclasses.field(default_factory=lambda: SimpleNamespace(name="maze"))
    agent: SimpleNamespace = dataclasses.field(
        default_factory=lambda: SimpleNamespace(reward_multiplier=10.0)
    )


def health(skips=False):
    return Health(Described(skips), 0.003)


def failure(row, before=(), skips=False):
    judge = health(skips)
    for earlier in before:
        judge.check(GOOD | earlier)
    with pytest.raises(TrainingError) as caught:
        judge.check(GOOD | row)
    return str(caught.value)


def test_a_healthy_row_is_left_with_what_is_worth_showing():
    row = dict(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        health().check(row)
    assert row == {"epoch": 3.0, "epochs": 9.0, "updates/skipped": 0.0}


def test_the_first_bad_update_and_its_modules_are_named():
    said = failure(BAD)
    assert said.startswith(
        "the loss became inf, and the gradients of critics NaN or infinite, in update 7 of epoch 3;"
    )
    assert said.endswith("try a smaller optimizer.learning_rate than 0.003")
    finite = failure(BAD | {"health/loss": 2.0})
    assert finite.startswith("the gradients of critics became NaN or infinite at a loss of 2, in")
    overflow = failure(BAD | {"health/loss": 2.0, "health/gradient/critics": 1e19})
    assert overflow.startswith("the gradients' norm became NaN or infinite at a loss of 2, in")


@pytest.mark.parametrize(
    ("large", "cause"),
    [
        ({"health/largest_observation": 1e20}, r"observations reached 1e\+20: scale them down"),
        ({"health/largest_reward": 1e30}, r"rewards reached 1e\+30, times .*=10: scale them"),
    ],
)
def test_large_numbers_are_blamed_even_if_they_came_before(large, cause):
    with pytest.raises(TrainingError, match=cause):
        health().check(GOOD | BAD | large)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "scale them down, for no optimizer" in failure(BAD, before=[large])


def test_an_environments_nan_is_its_own():
    said = failure(BAD | {"train/not_finite": 2.0}, skips=True)
    assert said == "env 'maze' gave a NaN or infinite reward or observation in epoch 3"


def test_weights_that_are_not_finite_are_no_success():
    for skips in (False, True):
        said = failure({"health/weights": 1.0}, skips=skips)
        assert said.startswith("weights became NaN or infinite in epoch 3; try a smaller")


def test_skipping_goes_on_until_nothing_is_learned_any_more():
    whole = BAD | {"updates/skipped": float(UPDATES)}
    assert UPDATES < MOST_SKIPPED < 2 * UPDATES
    judge = health(skips=True)
    for row in (BAD, whole, BAD, whole, {}):
        judge.check(GOOD | row)
    assert "the last 120 updates, until epoch 3, were skipped" in failure(whole, [whole], True)
    assert "the last 60 updates" in failure(whole | {"epoch": 9.0}, skips=True)


@pytest.mark.parametrize(
    ("large", "said"),
    [
        ({"health/saturated": 2.0, "health/largest_reward": 1e6}, r"PopArt .* reached 1e\+06,"),
        ({"health/largest_observation": 1e20}, r"observations reached 1e\+20"),
    ],
)
def test_numbers_too_large_for_normalization_are_told_once(large, said):
    judge = health()
    with pytest.warns(UserWarning, match=said):
        judge.check(GOOD | large)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge.check(GOOD | large)


def test_on_nan_is_one_of_two():
    assert build(compose(["on_nan=skip"])).skip_not_finite
    assert not build(compose([])).skip_not_finite
    with pytest.raises(ConfigError, match=r"on_nan='never' must be one of stop, skip"):
        build(compose(["on_nan=never"]))
