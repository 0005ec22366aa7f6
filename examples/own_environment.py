"""An environment of one's own, in gymnax's interface: python examples/own_environment.py."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

import amago_jax


@struct.dataclass
class State:
    hidden: jax.Array
    answer: jax.Array  # to the last guess: -1, 0 or 1


class Guess(environment.Environment):
    """Guess a number, told "higher" or "lower", which takes memory; the right one pays 1."""

    def __init__(self, numbers: int = 8):
        super().__init__()
        self.numbers = numbers  # a setting, for it is in the signature: env.numbers=8

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=5)

    def reset_env(self, key, params):
        state = State(jax.random.randint(key, (), 0, self.numbers), jnp.int32(0))
        return self.observe(state), state

    def step_env(self, key, state, action, params):
        state = state.replace(answer=jnp.sign(state.hidden - action))
        right = state.answer == 0
        return self.observe(state), state, right.astype(jnp.float32), right, {}

    def observe(self, state):
        return state.answer.astype(jnp.float32)[None]

    def action_space(self, params):
        return spaces.Discrete(self.numbers)

    def is_truncated(self, state, params):
        return False  # but for the time limit


def main(settings: Sequence[str] = (), folder: str = "runs/examples/guess") -> float:
    """Train in it and return the mean return; ``settings`` are further ones."""
    own = ["env._target_=own_environment.Guess", "rollout_steps=50", "epochs=30"]
    run = amago_jax.make_run([*own, *settings], run_dir=folder)
    run.train()
    return run.evaluate()["evaluation/return"]


if __name__ == "__main__":
    main()
