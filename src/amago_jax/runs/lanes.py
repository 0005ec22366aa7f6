"""Lanes: a recipe in more environments at once, at the recipe's ratio of updates to steps.

An acting step of twenty environments costs an accelerator what one of a thousand does. So that
only this changes, whatever counts by environment follows: a rollout is shorter, the memory of an
unfinished episode being carried on; replay holds as many timesteps in all; exploration falls over
as many steps in all. What rounding leaves over goes into the updates and the epochs.
"""

from omegaconf import DictConfig

from amago_jax.settings import Size, check

WINDOWS = 2  # that the replay of one environment holds at least


def in_lanes(config: DictConfig, window: int) -> DictConfig:
    """Return a configuration whose ``envs`` are its ``lanes``, with all that follows from it.

    Without ``lanes`` it is returned as it is. The result has none: it may be saved, read again, and
    changed as any other.

    Args:
        config: a training configuration.
        window: timesteps in a window of the replay.

    Raises:
        ConfigError: if ``lanes`` is neither a size nor None.
    """
    lanes = config.get("lanes")  # runs saved before there were lanes have no such setting
    if lanes is None:
        return config
    check("lanes", lanes, Size | None)
    share = config.envs / lanes
    steps = _whole(config.rollout_steps * share)
    longer = steps / (config.rollout_steps * share)  # than an epoch was, in timesteps of all
    capacity = max(_whole(config.replay.capacity * share), WINDOWS * window, steps)
    wide = config.copy()
    wide.lanes, wide.envs, wide.rollout_steps = None, lanes, steps
    wide.updates, wide.epochs = _whole(config.updates * longer), _whole(config.epochs / longer)
    if "anneal_steps" in config.exploration:
        wide.exploration.anneal_steps = _whole(config.exploration.anneal_steps * share)
    wide.replay.capacity = capacity
    return wide


def describe_lanes(config: DictConfig) -> str:
    """Say in a line what a configuration of `in_lanes` has become."""
    return (
        f"lanes={config.envs}: an epoch is {config.rollout_steps} steps in each and "
        f"{config.updates} updates, {config.epochs} epochs; "
        f"replay.capacity={config.replay.capacity} timesteps of each"
    )


def _whole(count: float) -> int:
    return max(1, round(count))
