"""Worlds that blow up: named, or begun again, while nothing is learned of the fault."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.environment import EnvParams

from amago_jax import TrainingError, envs, make_run
from amago_jax.acting.evaluation import evaluate, evaluation_metrics
from amago_jax.acting.rollout import init_rollout, rollout
from amago_jax.envs.stream import make_stream_env
from amago_jax.runs.health import Health, check_evaluation
from amago_jax.runs.run import floats
from odd_worlds import FAULTS, HORIZON, World
from tiny_runs import LEAST

LANES, STEPS = 16, 24
NAME = "test/world"
SETTINGS = [item for item in LEAST if not item.startswith("env.")]
SETTINGS += ["env=gymnax/MemoryChain-bsuite", f"env.env_id={NAME}", "~env.params", "env.risk=0.5"]
SETTINGS += ["on_env_nan=restart", f"envs={LANES}", "devices=1", f"rollout_steps={STEPS}"]
SETTINGS += ["agent.popart=true", f"context_length={HORIZON}"]


def make_world(*, risk: float = 0.0):
    return make_stream_env(NAME, World(risk), EnvParams(), horizon=HORIZON)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if NAME not in envs.list_ids(suites=False):
        envs.register(NAME, make_world)
    return make_run(SETTINGS, run_dir=tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def rollouts(run):
    """The same rollout without restarts and with them, of worlds half of whose episodes fail."""
    trainer, agent_state = run.trainer, run.state.learner.agent

    @functools.partial(jax.jit, static_argnums=1)
    def play(key, restarts):
        start = init_rollout(trainer.agent, trainer.env, key, LANES, restarts=restarts)
        return rollout(
            trainer.agent,
            trainer.env,
            trainer.schedule,
            agent_state,
            start,
            key,
            steps=STEPS,
            greedy=False,
            restarts=restarts,
        )[1:]

    return jax.device_get([play(jax.random.key(3), restarts) for restarts in (False, True)])


def finite(timesteps):
    """Return where the numbers of timesteps ``[E, T, ...]`` are finite, bool ``[E, T]``."""
    seen = np.isfinite(timesteps.observation["observation"]).all(-1)
    return seen & np.isfinite(timesteps.previous_reward)


def test_other_worlds_go_on_as_they_would_have(rollouts):
    (without, _), (with_restarts, _) = rollouts
    same = finite(without)
    # Until the first fault of a world; the step before it is its episode's last, which is new.
    before = np.cumsum(~same, axis=1) == 0
    whole = before[:, -1]
    assert 0 < whole.sum() < LANES
    for a, b in zip(jax.tree.leaves(without), jax.tree.leaves(with_restarts), strict=True):
        np.testing.assert_array_equal(a[whole], b[whole])
    np.testing.assert_array_equal(
        without.observation["observation"][before], with_restarts.observation["observation"][before]
    )


def test_what_restarts_leave_is_a_stream(rollouts):
    _, (ts, totals) = rollouts
    assert finite(ts).all()
    np.testing.assert_array_equal(ts.is_first[:, 1:], ts.is_last[:, :-1])
    later = np.where(ts.is_first[:, 1:], 0, ts.time[:, :-1] + 1)
    np.testing.assert_array_equal(ts.time[:, 1:], later)
    assert not ts.terminated.any()  # nobody says what the fault was worth
    assert (ts.previous_reward[ts.is_first] == 0).all()
    whole = ts.is_last & (ts.time == HORIZON)
    assert totals.restarts == (ts.is_last & ~whole).sum() > 0
    assert (ts.is_first & ts.is_last).any(), "no reset failed"
    # Faults are no episodes.
    assert totals.episodes == whole.sum()
    np.testing.assert_allclose(totals.returns, 0.1 * HORIZON * whole.sum(), rtol=1e-5)
    assert totals.transitions == (~ts.is_last).sum()
    assert sum(totals.not_finite.values()) == 0


def test_without_restarts_faults_are_counted_by_what_they_are_in(rollouts):
    (ts, totals), _ = rollouts
    assert totals.restarts is None
    assert totals.not_finite == {
        "observation 'observation'": (~np.isfinite(ts.observation["observation"])).sum(),
        "reward": (~np.isfinite(ts.previous_reward)).sum(),
    }
    assert all(totals.not_finite.values())


def test_learning_goes_on(run):
    rows = []
    for row in run.epochs():
        rows.append(row)
        if len(rows) == 3:
            break
    assert all(row["env/restarts"] > 0 and row["evaluation/restarts"] > 0 for row in rows)
    assert all(row["updates/skipped"] == 0 for row in rows)
    assert rows[-1]["updates"] == 3 * run.trainer.updates
    np.testing.assert_allclose([row["evaluation/return"] for row in rows], 0.1 * HORIZON, rtol=1e-5)
    replay = run.state.experience.replay.timesteps
    for leaf in jax.tree.leaves((run.learner.agent, replay)):
        assert np.isfinite(leaf).all()


def outcome(run, fault):
    """Train an epoch whose first episodes have a fault, and judge it."""
    start = run.trainer.init(jax.random.key(5))
    world = start.experience.rollout.stream.env_state
    world = world.replace(
        fault=jnp.full_like(world.fault, FAULTS.index(fault)), fuse=jnp.ones_like(world.fuse)
    )
    stream = start.experience.rollout.stream.replace(env_state=world)
    experience = start.experience.replace(rollout=start.experience.rollout.replace(stream=stream))
    _, metrics = run.trainer.train_epoch(start.replace(experience=experience))
    Health(run.trainer, 0.001).check({"epoch": 1.0, "epochs": 9.0, **floats(metrics)})


def test_rewards_that_are_too_large_are_blamed_with_what_is_known_of_the_batch(run):
    said = r"in update 1 of epoch 1 \(.* had losses of .* and inf of the critics; .* 1e\+30,.*"
    blamed = r"; rewards reached 1e\+30, times agent.reward_multiplier=.*: scale them down"
    with pytest.raises(TrainingError, match=said + blamed):
        outcome(run, "rich")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dear", r"the most that PopArt scales by \(rewards reached 1e\+06, times"),
        ("far", r"observations reached 1e\+20, more than normalization can scale"),
    ],
)
def test_numbers_too_large_to_learn_from_are_told(run, fault, said):
    with pytest.warns(UserWarning, match=said):
        outcome(run, fault)


@pytest.fixture(scope="module")
def played(run):
    """Evaluations without restarts and with them."""
    agent, env, state = run.trainer.agent, run.trainer.env, run.learner.agent

    @functools.partial(jax.jit, static_argnums=1)
    def play(key, restarts):
        return evaluate(agent, env, state, key, episodes=LANES, greedy=True, restarts=restarts)

    return [play(jax.random.key(1), restarts) for restarts in (False, True)]


def test_evaluations_leave_out_episodes_that_fail(played):
    (returns, *_), cut = played
    failed = np.isnan(cut[0])
    assert 0 < failed.sum() < LANES
    assert failed[~np.isfinite(returns)].all()
    np.testing.assert_array_equal(cut[0][~failed], returns[~failed])
    metrics = evaluation_metrics(cut, restarts=True)
    assert metrics["evaluation/restarts"] == failed.sum()
    np.testing.assert_allclose(metrics["evaluation/episode_length"], HORIZON)


def test_an_evaluation_that_is_no_number_is_no_success(run, played):
    one, other = (floats(evaluation_metrics(x, n == 1)) for n, x in enumerate(played))
    stops = dataclasses.replace(run.trainer, restarts=False)
    check_evaluation(run.trainer, other)
    with pytest.raises(TrainingError, match=rf"return is nan, for env '{NAME}' .* on_env_nan=rest"):
        check_evaluation(stops, one)
    with pytest.raises(TrainingError, match=r"in every episode$"):
        check_evaluation(run.trainer, other | {"evaluation/return": np.nan})


def test_a_run_whose_evaluation_is_no_number_fails(run, monkeypatch):
    monkeypatch.setattr(run, "evaluate", lambda fold=0: {"evaluation/return": float("nan")})
    before = len(run.rows)
    with pytest.raises(TrainingError, match=r"return is nan.* the last good agent is saved in"):
        next(run.epochs())
    assert len(run.rows) == before


def test_a_first_observation_of_nan_is_named_before_the_first_epoch(run):
    state = run.trainer.init(jax.random.key(0))
    shown = state.experience.rollout.stream.timestep.observation
    broken = jax.tree.map(lambda x: x.at[:, 0, 1].set(jnp.nan), shown)
    rollout_state = state.experience.rollout
    timestep = dataclasses.replace(rollout_state.stream.timestep, observation=broken)
    stream = rollout_state.stream.replace(timestep=timestep)
    experience = state.experience.replace(rollout=rollout_state.replace(stream=stream))
    stops = dataclasses.replace(run.trainer, restarts=False)
    with pytest.raises(
        TrainingError, match=r"infinite observation 'observation' \(1 numbers\) in "
    ):
        Health(stops, None).check_start(state.replace(experience=experience))
