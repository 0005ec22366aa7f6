"""Drawing goals by rarity: how often each was achieved, and what weight that gives it.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.3 and appendix on Crafter.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.hindsight.instructions import GoalProtocol
from amago_jax.hindsight.segments import Segments
from amago_jax.types import Array, Timestep

# How draws by rarity normalize weights, and how often.
UNIFORM, MIN_SHIFTED, MEDIAN_SHIFTED, TOP = range(4)
NORMALIZATION_SHARES = (0.2, 0.1, 0.1, 0.6)
TOP_COUNT = 5
LEAST_WEIGHT = 1e-5
WEIGHT_POWER, WEIGHT_RANGE = 4, (1e-3, 1e5)


@struct.dataclass
class GoalTotals:
    """How often each goal was achieved.

    Attributes:
        in_timesteps: int32 ``[N]``, timesteps that achieved it.
        in_episodes: int32 ``[N]``, episodes that achieved it.
        timesteps: int32 ``[]``, timesteps counted, those of resets left out.
        episodes: int32 ``[]``, episodes begun.
    """

    in_timesteps: Array
    in_episodes: Array
    timesteps: Array
    episodes: Array


@struct.dataclass
class GoalCounts:
    """The count of goals on one device, between rollouts.

    Attributes:
        totals: so far.
        seen: bool ``[E, N]``, achieved in the running episode.
    """

    totals: GoalTotals
    seen: Array


def count_goals(protocol: GoalProtocol, counts: GoalCounts, timesteps: Timestep) -> GoalCounts:
    """Count the goals that a rollout achieved.

    Args:
        protocol: of the task.
        counts: those before.
        timesteps: the rollout, leaves ``[E, T, ...]``, the continuation of the last one.
    """

    def step(counts: GoalCounts, now: tuple[Array, Array, Array]) -> tuple[GoalCounts, None]:
        achieved, is_first, begins = now
        seen = counts.seen & ~is_first[:, None]
        rows = jnp.arange(seen.shape[0])[:, None]
        # As relabelling does, leave out what a reset achieves.
        achieves = protocol.is_goal(achieved) & ~is_first[:, None]
        hits = jnp.zeros_like(seen).at[rows, protocol.index(achieved)].max(achieves)
        totals = GoalTotals(
            in_timesteps=counts.totals.in_timesteps + hits.sum(0),
            in_episodes=counts.totals.in_episodes + (hits & ~seen).sum(0),
            timesteps=counts.totals.timesteps + (~is_first).sum(),
            episodes=counts.totals.episodes + begins.sum(),
        )
        return GoalCounts(totals, seen | hits), None

    achieved = timesteps.observation[protocol.achieved_key]
    # A reset that failed is no episode, see `amago_jax.acting.restarts`.
    begins = timesteps.is_first & ~timesteps.is_last
    over_time = (jnp.swapaxes(achieved, 0, 1), timesteps.is_first.T, begins.T)
    return jax.lax.scan(step, counts, over_time)[0]


def rarity_weights(totals: GoalTotals) -> Array:
    """Return the weight of every goal by timesteps and by episodes, float32 ``[2, N]``.

    (-log10 frequency)^4, clipped to [1e-3, 1e5].
    """
    frequencies = jnp.stack(
        [
            totals.in_timesteps / jnp.maximum(totals.timesteps, 1.0),
            totals.in_episodes / jnp.maximum(totals.episodes, 1.0),
        ]
    )
    rarity = -jnp.log10(jnp.clip(frequencies, 1e-20, 1.0))
    return jnp.clip(rarity**WEIGHT_POWER, *WEIGHT_RANGE)


def normalize_weights(weights: Array, mask: Array, mode: Array, segments: Segments) -> Array:
    """Normalize weights within segments, each in its mode; all stay above 0.

    Args:
        weights: float32 ``[W]``.
        mask: bool ``[W]``, the timesteps there are to draw from.
        mode: int32 ``[W]``, UNIFORM, MIN_SHIFTED, MEDIAN_SHIFTED or TOP.
        segments: of the window.

    Returns:
        float32 ``[W]``, not yet divided by their sum.
    """
    left = segments.total(mask.astype(jnp.int32))
    # Ascending within the segment, those not to draw from first.
    ranked = segments.ranked(jnp.where(mask, weights, -jnp.inf))

    def from_top(rank: Array) -> Array:
        return ranked[segments.end - jnp.clip(rank, 0, jnp.maximum(left - 1, 0))]

    least, median = from_top(left - 1), (from_top((left - 1) // 2) + from_top(left // 2)) / 2
    top = weights >= from_top(jnp.full_like(left, TOP_COUNT - 1))
    choices = [
        jnp.ones_like(weights),
        weights - least + LEAST_WEIGHT,
        jnp.maximum(weights - median, LEAST_WEIGHT),
        jnp.where(top, weights, LEAST_WEIGHT),
    ]
    return jnp.where(mask, jnp.choose(mode, choices, mode="clip"), 1.0)
