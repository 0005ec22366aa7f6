"""What is said of numbers that are none, and of those too large to learn from."""

import dataclasses
import warnings
from types import SimpleNamespace

import jax
import pytest

from amago_jax import ConfigError, TrainingError
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from amago_jax.runs.health import MOST_SKIPPED, Health, failures_named

INF, NAN = float("inf"), float("nan")
UPDATES = 60
GOOD = {
    "epoch": 3.0,
    "epochs": 9.0,
    "env_steps": 300.0,
    "train/not_finite/reward": 0.0,
    "train/not_finite/observation 'map'": 0.0,
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
    hindsight: None = None
    restarts: bool = False
    agent: SimpleNamespace = dataclasses.field(
        default_factory=lambda: SimpleNamespace(reward_multiplier=10.0, gammas=(0.9,))
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
    assert row == {"epoch": 3.0, "epochs": 9.0, "env_steps": 300.0, "updates/skipped": 0.0}


def test_the_first_bad_update_and_its_modules_are_named():
    said = failure(BAD)
    assert said.startswith(
        "the loss became inf, and the gradients of critics NaN or infinite, in update 7 of epoch 3 "
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
    bad = {"train/not_finite/observation 'map'": 2.0, "train/not_finite/reward": 1.0}
    assert failure(BAD | bad, skips=True) == (
        "env 'maze' gave a NaN or infinite reward (1 numbers) and observation 'map' (2 numbers) in "
        "epoch 3; on_env_nan=restart ends such episodes, and goes on"
    )


def test_what_is_known_of_a_bad_batch_is_told():
    batch = {"value/td_target_min": -2e38, "value/td_target_max": 3.0, "value/q": NAN}
    told = {f"health/batch/{name}": value for name, value in batch.items()}
    said = failure(BAD | told, before=[{"health/largest_reward": 7.0}])
    assert (
        "in update 7 of epoch 3 (its batch had TD targets from -2e+38 to 3, values of nan; "
        "rewards so far reached 7, observations 1); try"
    ) in said


def test_worlds_that_fail_at_every_step_are_no_training():
    judge = Health(Described(False, restarts=True), 0.003)
    judge.check(GOOD | {"env/restarts": 5.0})
    judge.check(GOOD | {"env_steps": 301.0, "env/restarts": 5.0})
    with pytest.raises(TrainingError, match=r"at every step of epoch 3: .* nothing to go on with"):
        judge.check(GOOD | {"env_steps": 301.0, "env/restarts": 5.0})


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore",
            r"full: .* 9 bytes\.; make",
        ),
        (
            "INTERNAL: CpuCallback error: Traceback\n  x\nValueError: odd",
            r"'maze' .*: ValueError: odd",
        ),
    ],
)
def test_why_a_program_failed_is_told_where_it_is_known(raised, said):
    with pytest.raises(TrainingError, match=said), failures_named(SimpleNamespace(name="maze")):
        raise jax.errors.JaxRuntimeError(raised)
    with pytest.raises(jax.errors.JaxRuntimeError), failures_named(SimpleNamespace(name="maze")):
        raise jax.errors.JaxRuntimeError("INTERNAL: who knows")


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


def test_what_is_done_about_an_environments_nan_is_one_of_two():
    assert build(compose(["on_env_nan=restart"])).restarts
    assert not build(compose([])).restarts
    with pytest.raises(ConfigError, match=r"on_env_nan='skip' must be one of stop, restart"):
        build(compose(["on_env_nan=skip"]))


def test_on_nan_is_one_of_two():
    assert build(compose(["on_nan=skip"])).skip_not_finite
    assert not build(compose([])).skip_not_finite
    with pytest.raises(ConfigError, match=r"on_nan='never' must be one of stop, skip"):
        build(compose(["on_nan=never"]))
