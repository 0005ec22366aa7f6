"""What is found out of an environment before anything compiles, and said in one sentence.

An environment is written by others. What it states of itself is held against what it does, and an
error inside it is told with the environment's name and the place.
"""

import contextlib
import inspect
import math
import os
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from amago_jax.errors import ConfigError, first_line
from amago_jax.hindsight.instructions import GoalProtocol
from amago_jax.types import Array

Shapes = Mapping[str, jax.ShapeDtypeStruct]


@contextlib.contextmanager
def named(name: str, what: str, theirs: Any) -> Iterator[None]:
    """Turn whatever is raised inside into one sentence.

    Args:
        name: of the environment.
        what: the function that is called inside.
        theirs: the object whose function it is; its file tells the place.

    Raises:
        ConfigError: instead of any other error.
    """
    try:
        yield
    except Exception as error:
        raise ConfigError(
            f"{name}: {what} raised {type(error).__name__}: {first_line(error)}"
            f"{_place(theirs, error)}"
        ) from error


def _place(theirs: Any, error: Exception) -> str:
    """Say where in the object's own file an error came from, if it did."""
    try:
        own = inspect.getsourcefile(type(theirs))
    except TypeError:  # a class that is not written in Python
        return ""
    lines = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == own]
    return f" ({os.path.basename(own)}, line {lines[-1]})" if own and lines else ""


def check_action_space(name: str, space: spaces.Space) -> None:
    """Check that there are actions, and that they can be chosen.

    Raises:
        ValueError: if there are none, or they are of another kind, or without bounds.
    """
    if isinstance(space, spaces.Discrete):
        if space.n != int(space.n) or space.n < 1:
            raise ValueError(
                f"{name}: there must be a whole number of actions, at least 1, not {space.n}"
            )
        return
    real = isinstance(space, spaces.Box) and jnp.issubdtype(space.dtype, jnp.floating)
    if not real and not is_binary(space):
        raise ValueError(
            f"{name}: actions must be a Discrete space, a real-valued Box, or a Box of whole "
            f"numbers from 0 to 1, not {space}"
        )
    if math.prod(space.shape) < 1:
        raise ValueError(
            f"{name}: an action must have at least one number, not shape {space.shape}"
        )
    if not real:
        return
    try:
        low, high = (np.broadcast_to(np.float32(x), space.shape) for x in (space.low, space.high))
    except ValueError as error:
        raise ValueError(
            f"{name}: the bounds of actions do not fit their shape: {space}"
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = np.isfinite(high - low).all()
    if not bounded:
        raise ValueError(f"{name}: actions must be bounded to be rescaled, not {space}")
    if (low > high).any():
        raise ValueError(
            f"{name}: the least of an action must not exceed the greatest: low={space.low} and "
            f"high={space.high}"
        )


def is_binary(space: spaces.Space) -> bool:
    """Whether actions are several buttons, each pressed or not."""
    if not isinstance(space, spaces.Box) or jnp.issubdtype(space.dtype, jnp.floating):
        return False
    return bool(np.all(np.asarray(space.low) == 0) and np.all(np.asarray(space.high) == 1))


def check_stated(name: str, env: Any, params: Any, shapes: Shapes) -> None:
    """Check that observations have the shapes that the environment states, if it states any.

    Dtypes and ranges are not looked at: nothing here reads them, and many state others.

    Raises:
        ValueError: naming the first that has another.
    """
    if not hasattr(env, "observation_space"):
        return
    stated: dict[str, tuple[int, ...]] = {}

    def state() -> int:
        space = env.observation_space(params)
        known = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
        stated.update({key: tuple(getattr(x, "shape", None) or ()) for key, x in known.items()})
        return 0

    with named(name, "observation_space", env), contextlib.suppress(NotImplementedError):
        try:
            jax.eval_shape(state)  # bounds are arrays, which need not be made
        except jax.errors.ConcretizationTypeError:  # what is stated depends on them
            state()
    for key in shapes.keys() & stated.keys():
        if shapes[key].shape != stated[key]:
            raise ValueError(
                f"{name}: {key!r} has shape {shapes[key].shape}, but observation_space states "
                f"{stated[key]}"
            )


def check_goals(name: str, goals: GoalProtocol, shapes: Shapes) -> None:
    """Check what a task says of its goals against its observations.

    Raises:
        ValueError: naming what does not fit.
    """
    for field in ("goals_key", "achieved_key"):
        key = getattr(goals, field)
        if key not in shapes:
            raise ValueError(
                f"{name}: {field}={key!r} is not an observation key; choose from {sorted(shapes)}"
            )
    shown, achieved = shapes[goals.goals_key], shapes[goals.achieved_key]
    vectors = all(len(x.shape) == 2 and min(x.shape) > 0 for x in (shown, achieved))
    if not vectors or shown.shape[1:] != achieved.shape[1:] or shown.dtype != achieved.dtype:
        raise ValueError(
            f"{name}: {goals.goals_key!r} and {goals.achieved_key!r} must be goals [k, g] and "
            f"[m, g] of one dtype, not {_kind(shown)} and {_kind(achieved)}"
        )
    with np.errstate(all="ignore"):
        held = math.isfinite(goals.completed) and (
            np.asarray(goals.completed).astype(shown.dtype) == goals.completed
        )
    if not held:
        raise ValueError(
            f"{name}: completed={goals.completed} must be a number of the goals' {shown.dtype}"
        )
    if not math.isfinite(goals.reward):
        raise ValueError(f"{name}: reward={goals.reward} of a goal must be finite")
    count = goals.goal_count
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ValueError(f"{name}: goal_count={count!r} must be a whole number of at least 1")
    goal = jax.ShapeDtypeStruct(shown.shape[1:], shown.dtype)
    with named(name, "its goals' protocol", goals):
        jax.eval_shape(goals.reached, goal, achieved)
        if count is not None:
            jax.eval_shape(goals.index, achieved)


def by_key(name: str, observation: Any) -> dict[str, Array]:
    """Give a bare observation a key, and narrow float64.

    Raises:
        ValueError: if an observation is no array of numbers, nor a flat dict of some.
    """
    if not isinstance(observation, Mapping):
        observation = {"observation": observation}
    if not observation or not jax.tree_util.all_leaves(observation.values()):
        raise ValueError(f"{name}: an observation must be an array or a flat dict of arrays")
    return {key: _narrow(name, key, value) for key, value in observation.items()}


def _narrow(name: str, key: str, value: Any) -> Array:
    with named(name, f"reading observation {key!r}", None):
        array = jnp.asarray(value)
    if not any(
        jnp.issubdtype(array.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)
    ):
        raise ValueError(f"{name}: observation {key!r} must hold numbers, not {array.dtype}")
    return array.astype(jnp.float32) if array.dtype == jnp.float64 else array


def one_number(name: str, what: str, value: Any) -> Array:
    """Strip the singleton axes that some environments leave on rewards and flags.

    Args:
        name: of the environment.
        what: the value's name in messages.
        value: one real number.

    Raises:
        ValueError: if it is no such number.
    """
    with named(name, f"reading the {what}", None):
        array = jnp.asarray(value)
    if array.size != 1 or not _is_real(array):
        raise ValueError(f"{name}: the {what} must be one number, not {_kind(array)}")
    return array.reshape(())


def reward_of(name: str, value: Any) -> Array:
    """Return a reward, float32 ``[]``.

    A NaN that was cast to a whole number is one again, where the cast made it the least there is.
    """
    reward = one_number(name, "reward", value)
    if not jnp.issubdtype(reward.dtype, jnp.signedinteger):
        return reward.astype(jnp.float32)
    least = jnp.iinfo(reward.dtype).min
    return jnp.where(reward == least, jnp.nan, reward.astype(jnp.float32))


def flag_of(name: str, what: str, value: Any, reward: Array) -> tuple[Array, Array]:
    """Return a flag, bool ``[]``, and the reward, which is NaN where the flag is.

    A NaN that becomes a flag is true, and nothing tells it from others any more.
    """
    flag = one_number(name, what, value)
    if jnp.issubdtype(flag.dtype, jnp.floating):
        reward = jnp.where(jnp.isnan(flag), jnp.nan, reward)
    return flag.astype(jnp.bool_), reward


def common_structure(name: str, reset: Any, step: Any) -> Any:
    """Return the shapes that both trees share, and dtypes that hold the values of either.

    Args:
        name: of the environment.
        reset: shapes of (observation, state) after a reset.
        step: likewise after a step.

    Raises:
        ValueError: if they differ in structure or shapes.
    """
    structures: list[Any] = [jax.tree.structure(tree) for tree in (reset, step)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"{name}: (observation, state) is {structures[0]} after a reset "
            f"but {structures[1]} after a step"
        )

    def common(path: Any, a: jax.ShapeDtypeStruct, b: jax.ShapeDtypeStruct) -> Any:
        if a.shape != b.shape:
            tree = "observation" if path[0].idx == 0 else "state"
            leaf = tree + jax.tree_util.keystr(path[1:])
            raise ValueError(
                f"{name}: {leaf} has shape {a.shape} after a reset but {b.shape} after a step"
            )
        return jax.ShapeDtypeStruct(a.shape, jnp.result_type(a, b))

    return jax.tree_util.tree_map_with_path(common, reset, step)


def _is_real(x: Any) -> bool:
    return any(jnp.issubdtype(x.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def _kind(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"
