"""What can be said of a run before it compiles: how whole numbers are read, what epochs take."""

import jax
import numpy as np
from gymnax.environments import spaces

from amago_jax.envs import StreamEnv
from amago_jax.envs.codes import codes_of, observation_spaces
from amago_jax.learning import Trainer

LONG = 1000  # timesteps of a context that is worth a word
_FEW = 64  # whole numbers that stay below are hardly brightnesses


def describe(trainer: Trainer, context_length: int | None) -> list[str]:
    """Say what is worth knowing before waiting.

    Args:
        trainer: the run's.
        context_length: as configured; None: the environment's longest episode.
    """
    lines = describe_integers(trainer)
    if context_length is None and trainer.env.horizon >= LONG:
        lines.append(describe_epoch(trainer))
    return lines


def describe_integers(trainer: Trainer) -> list[str]:
    """Say how observations of whole numbers are read, and which codes are read as if amounts."""
    env = trainer.env
    read = sorted(trainer.agent.timestep_encoder.describe(env.observation_shapes).items())
    if not read:
        return []
    codes = codes_of(env)
    lines = [f"whole numbers: {', '.join(f'{key} {how}' for key, how in read)}"]
    for key, how in read:
        if key in codes and how.startswith("as "):
            lines.append(
                f"{key} holds codes, which mean nothing {how}: timestep_encoder.one_hot=true or "
                "timestep_encoder=tokens tells them apart"
            )
        elif how == "as pixels" and (most := _greatest(env, key)) < _FEW:
            lines.append(
                f"{key} holds whole numbers up to {most:.0f}, scaled {how} of 0 to 255 are: if "
                "they are codes, timestep_encoder=tokens looks them up"
            )
    return lines


def describe_epoch(trainer: Trainer) -> str:
    """Say what an epoch takes."""
    window, horizon = trainer.replay.window, trainer.env.horizon
    batches = trainer.updates * trainer.batches_per_update
    learned = batches * trainer.batch_size * window
    shapes = trainer.shapes().learner.agent.params
    parameters = sum(x.size for x in jax.tree.leaves(shapes))
    # Forward and backward, a multiplication and an addition each; attention comes on top.
    operations = 6 * parameters * learned
    return (
        f"the context is the longest episode, {horizon:,} steps: an epoch acts "
        f"{trainer.envs * trainer.rollout_steps:,} times and learns from {learned:,} timesteps "
        f"({batches:,} batches of {trainer.batch_size:,} windows of {window:,}), which takes "
        f"{parameters:,} parameters {operations / 1e12:,.1f} TFLOP and attention more, and an "
        f"evaluation plays up to {trainer.evaluation_episodes * horizon:,} steps; "
        "context_length, updates and batch_size make it less, scripts/estimate.py tells times"
    )


def _greatest(env: StreamEnv, key: str) -> float:
    space = observation_spaces(env).get(key)
    return float(np.max(space.high)) if isinstance(space, spaces.Box) else float("inf")
