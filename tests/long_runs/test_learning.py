"""Agents learn: short runs in every test run, the default runs behind `make test-learning`."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import struct
from gymnax.environments import environment, spaces

import optimized
from amago_jax import envs, make_run
from amago_jax.envs.stream import make_stream_env

SMALL = [
    "trajectory_encoder.width=32",
    "trajectory_encoder.heads=4",
    "trajectory_encoder.feedforward_width=64",
    "trajectory_encoder.layers=1",
    "timestep_encoder.hidden_size=32",
    "agent.hidden_size=64",
    "agent.detailed_metrics=false",  # which nobody looks at, and cost an eighth
]


def returns(tmp_path, *overrides):
    run = make_run(overrides, run_dir=tmp_path)
    return [row["evaluation/return"] for row in run.epochs() if "evaluation/return" in row]


def test_the_transformer_remembers_and_without_context_nothing_is_learned(tmp_path):
    maze = ["env.corridor_length=6", "rollout_steps=16", "exploration.anneal_steps=1000"]
    with_memory = returns(tmp_path / "with", *maze, *SMALL)
    assert with_memory[-3:] == [1.0, 1.0, 1.0], with_memory
    # A context of one timestep cannot reach back to the start: half the turns are wrong.
    without = returns(tmp_path / "without", *maze, *SMALL, "context_length=1", "epochs=12")
    assert max(without[-3:]) < 0.9, without


class Homing(environment.Environment):
    """Go to 0 on a line in ten steps; what each costs is the distance."""

    default_params = environment.EnvParams(max_steps_in_episode=10)

    def reset_env(self, key, params):
        state = HomingState(time=jnp.int32(0), x=jax.random.uniform(key, (), minval=-1, maxval=1))
        return state.x[None], state

    def step_env(self, key, state, action, params):
        x = jnp.clip(state.x + 0.5 * action[0], -2, 2)
        state = HomingState(time=state.time + 1, x=x)
        return x[None], state, -jnp.abs(x), jnp.zeros((), bool), {}

    def action_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,), jnp.float32)


@struct.dataclass
class HomingState(environment.EnvState):
    x: jax.Array


def test_continuous_actions_are_learned_in_an_environment_of_ones_own(tmp_path):
    if "test/homing" not in envs.list_ids():
        make = functools.partial(make_stream_env, "test/homing", Homing(), Homing.default_params)
        envs.register("test/homing", make)
    settings = [
        "env=gymnax/Pendulum-v1",
        "env.env_id=test/homing",
        "agent.n_step=1",
        "rollout_steps=33",
        "batch_size=24",
        "exploration.anneal_steps=200",
        "epochs=5",
        "optimizer.learning_rate=1e-3",
    ]
    with optimized.training():
        found = returns(tmp_path, *settings, *SMALL)
    # Standing still costs 5 on average, the best policy about 0.7.
    assert found[-1] > -1.5, found


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(5))
def test_t_maze_passive_30(tmp_path, seed):
    found = returns(tmp_path, "env=tmaze/passive", f"seed={seed}")
    assert found[-3:] == [1.0, 1.0, 1.0], found


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("env", "reached"),
    [("MemoryChain-bsuite", 1.0), ("CartPole-v1", 300.0), ("Pendulum-v1", -400.0)],
)
def test_gymnax(tmp_path, env, reached, seed):
    found = returns(tmp_path, f"env=gymnax/{env}", f"seed={seed}")
    assert max(found[-10:]) >= reached, found
