"""Hindsight relabelling of instructions: learn from what was reached, if not from what was meant.

Whole episodes in, whole episodes out: each segment of a packed window is given an instruction in
which some goals that it did reach stand between the real goals it reached, and is cut where that
instruction ends. The steps are those of docs/hindsight.md. `Hindsight.draw` holds everything that
a setting decides; `relabel` makes one and the same program of all of them.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.3 and figure 2; HER, Andrychowicz et al.
2017, arXiv 1707.01495.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.hindsight.instructions import GoalProtocol
from amago_jax.hindsight.rarity import (
    NORMALIZATION_SHARES,
    GoalCounts,
    GoalTotals,
    normalize_weights,
    rarity_weights,
)
from amago_jax.hindsight.segments import Segments, find_segments
from amago_jax.settings import check_fields, checked
from amago_jax.types import Array, Batch, Timestep

Strategy = Literal["none", "some", "all", "all_or_nothing"]
Choice = Literal["uniform", "rarity", "final"]

ALL_SHARE = 0.8  # of episodes that "all_or_nothing" completes


@struct.dataclass
class HindsightDraws:
    """What relabelling draws at random; a segment uses the numbers at its first timestep.

    Attributes:
        share: float32 ``[B, W]`` in [0, 1], of the goals that were not reached, see `new_goals`.
        statistic: bool ``[B, W]``, weigh by episodes instead of timesteps.
        normalization: int32 ``[B, k, W]``, of each of the k draws.
        timestep: float32 ``[B, k, W]``, what each draw among timesteps goes by: Gumbel noise, to
            which the logarithm of weights may be added, or the place in the window, for the last.
        goal: float32 ``[B, W, m]``, Gumbel noise of the draw among a timestep's goals.
    """

    share: Array
    statistic: Array
    normalization: Array
    timestep: Array
    goal: Array


@dataclasses.dataclass(frozen=True)
class Hindsight:
    """How instructions are relabelled; its methods are pure functions.

    Attributes:
        protocol: what the task says of its goals.
        strategy: how many of the goals that were not reached are replaced: "none"; "all"; "some",
            anything from none to all alike often; "all_or_nothing", all in 80% of the episodes.
        choice: which achieved goals replace them: "uniform" over timesteps; "rarity", seldom ones
            sooner; "final", the last ones. With one goal and strategy "all", uniform and final are
            those that HER calls "future" and "final", seen from the start of the episode.

    Raises:
        ValueError: if a setting is unknown, or the task does not number its goals for rarity.
    """

    protocol: GoalProtocol
    strategy: Strategy = "some"
    choice: Choice = "uniform"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        if self.choice == "rarity" and self.protocol.goal_count is None:
            raise ValueError("choice='rarity' needs a task that numbers its goals; set uniform")

    def init_counts(self, envs: int) -> GoalCounts | None:
        """Return counts of nothing yet, for ``envs`` environments; None if nothing is counted."""
        goals = self.protocol.goal_count
        if self.choice != "rarity" or goals is None:
            return None
        nothing = GoalTotals(
            in_timesteps=jnp.zeros(goals, jnp.int32),
            in_episodes=jnp.zeros(goals, jnp.int32),
            timesteps=jnp.zeros((), jnp.int32),
            episodes=jnp.zeros((), jnp.int32),
        )
        return GoalCounts(totals=nothing, seen=jnp.zeros((envs, goals), bool))

    def draw(self, key: Array, batch: Batch) -> HindsightDraws:
        """Draw everything random that `relabel` needs for a batch."""
        goals, achieved = self._keys(batch.timesteps)
        rows, window, slots = goals.shape[:3]
        key_share, key_statistic, key_mode, key_timestep, key_goal = jax.random.split(key, 5)
        return HindsightDraws(
            share=self._shares(jax.random.uniform(key_share, (rows, window))),
            statistic=jax.random.bernoulli(key_statistic, shape=(rows, window)),
            normalization=jax.random.choice(
                key_mode,
                len(NORMALIZATION_SHARES),
                (rows, slots, window),
                p=jnp.asarray(NORMALIZATION_SHARES),
            ),
            timestep=self._scores(key_timestep, (rows, slots, window)),
            goal=jax.random.gumbel(key_goal, achieved.shape[:3]),
        )

    def relabel(
        self, batch: Batch, draws: HindsightDraws, totals: GoalTotals | None = None
    ) -> Batch:
        """Relabel every segment of a batch by what was drawn, see `relabel`."""
        return relabel(self.protocol, batch, draws, totals)

    def _keys(self, timesteps: Timestep) -> tuple[Array, Array]:
        """Return the goals shown ``[..., k, g]`` and achieved ``[..., m, g]``."""
        observation = timesteps.observation
        return observation[self.protocol.goals_key], observation[self.protocol.achieved_key]

    def _shares(self, uniform: Array) -> Array:
        """Return the shares of goals to replace, from numbers in [0, 1)."""
        if self.strategy == "some":
            return uniform
        if self.strategy == "all_or_nothing":
            return jnp.where(uniform < ALL_SHARE, 1.0, 0.0)
        return jnp.full_like(uniform, self.strategy == "all")

    def _scores(self, key: Array, shape: tuple[int, int, int]) -> Array:
        """Return what timesteps are drawn by, ``[B, k, W]``."""
        if self.choice == "final":
            return jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.float32), shape)
        return jax.random.gumbel(key, shape)


@checked
def build_hindsight(
    protocol: GoalProtocol | None, strategy: Strategy = "some", choice: Choice = "uniform"
) -> Hindsight | None:
    """Build what a configuration describes; None if nothing is relabelled.

    Raises:
        ValueError: if a setting is unknown, or there are no goals to relabel.
    """
    if protocol is None and strategy != "none":
        raise ValueError(
            f"strategy={strategy!r} needs an environment that follows instructions; "
            "set hindsight=none"
        )
    if protocol is None or strategy == "none":
        return None
    return Hindsight(protocol, strategy, choice)


def relabel(
    protocol: GoalProtocol,
    batch: Batch,
    draws: HindsightDraws,
    totals: GoalTotals | None = None,
) -> Batch:
    """Relabel every segment of a batch.

    Args:
        protocol: of the task.
        batch: windows of W timesteps. A segment that begins in the middle of an episode keeps
            the goals that were completed before.
        draws: from `Hindsight.draw`.
        totals: of all devices together, if goals are weighed by rarity; else None, whatever was
            counted.

    Returns:
        The batch with other instructions, rewards and ends; what follows the end of a
        relabelled episode is padding.
    """
    weights = None if totals is None else rarity_weights(totals)

    def window(
        timesteps: Timestep, segment_ids: Array, draws: HindsightDraws
    ) -> tuple[Timestep, Array]:
        return relabel_window(protocol, timesteps, segment_ids, draws, weights)

    return Batch(*jax.vmap(window)(batch.timesteps, batch.segment_ids, draws))


def relabel_window(
    protocol: GoalProtocol,
    timesteps: Timestep,
    segment_ids: Array,
    draws: HindsightDraws,
    weights: Array | None,
) -> tuple[Timestep, Array]:
    """Relabel one window; the steps are numbered as in docs/hindsight.md.

    Args:
        protocol: of the task.
        timesteps: leaves ``[W, ...]``.
        segment_ids: int32 ``[W]``.
        draws: of this window.
        weights: float32 ``[2, N]`` of all goals, by timesteps and by episodes, if rarity weighs.
    """
    observation = timesteps.observation
    shown, achieved = observation[protocol.goals_key], observation[protocol.achieved_key]
    segments = find_segments(segment_ids)
    # Step 1: the goals completed so far, those before the segment and unused ones included.
    progress = (~protocol.is_goal(shown)).sum(-1, dtype=jnp.int32)
    completed = progress > jnp.where(segments.is_start, progress, segments.before(progress))
    # Step 2.
    free = shown.shape[1] - progress[segments.end]
    count = new_goals(free, draws.share[segments.start])
    # Step 3.
    usable = protocol.is_goal(achieved)
    candidates = usable.any(-1) & ~completed & ~segments.is_start & (segment_ids > 0)
    goal_weights = usable.astype(jnp.float32)
    if weights is not None:
        index, by_episode = protocol.index(achieved), draws.statistic[segments.start][:, None]
        goal_weight = jnp.where(by_episode, weights[1][index], weights[0][index])
        goal_weights = jnp.where(usable, goal_weight, 0.0)
    of_timesteps = None if weights is None else goal_weights.sum(-1)
    chosen = choose(draws, candidates, count, segments, of_timesteps)
    among = jnp.argmax(jnp.log(goal_weights) + draws.goal, axis=-1)
    new = jnp.take_along_axis(achieved, among[:, None, None], axis=1)[:, 0]
    # Step 4.
    instruction = shown[segments.start]
    last = jnp.maximum(progress - 1, 0)[:, None, None]
    real = jnp.take_along_axis(instruction, last, axis=1)[:, 0]
    goals = jnp.where(chosen[:, None], new, real)
    begun = progress[segments.start]
    instruction = merge_goals(instruction, begun, completed | chosen, goals, segments)
    # Step 5.
    return replay(protocol, timesteps, segment_ids, instruction, begun, completed, segments)


def new_goals(free: Array, share: Array) -> Array:
    """Return how many of ``free [W]`` goals to replace, int32.

    A share in [0, 1) parts 0 to ``free`` alike, and a share of 1 is all of them.
    """
    return jnp.minimum(jnp.floor(share * (free + 1)).astype(jnp.int32), free)


def choose(
    draws: HindsightDraws,
    candidates: Array,
    count: Array,
    segments: Segments,
    weights: Array | None,
) -> Array:
    """Draw timesteps of every segment without replacement.

    Args:
        draws: of this window.
        candidates: bool ``[W]``, the timesteps there are to draw from.
        count: int32 ``[W]``, how many of its segment.
        segments: of the window.
        weights: float32 ``[W]`` of the timesteps, if rarity weighs.

    Returns:
        Those that were drawn, bool ``[W]``.
    """
    chosen = jnp.zeros_like(candidates)
    for draw in range(draws.timestep.shape[0]):
        left = candidates & ~chosen
        score = draws.timestep[draw]
        if weights is not None:
            mode = draws.normalization[draw][segments.start]
            score += jnp.log(normalize_weights(weights, left, mode, segments))
        score = jnp.where(left, score, -jnp.inf)
        best = left & (score == segments.most(score))
        # Of equals, the first.
        best &= segments.before(segments.ever(best)) == 0
        chosen |= best & (draw < count)
    return chosen


def merge_goals(
    instruction: Array, begun: Array, reached: Array, goals: Array, segments: Segments
) -> Array:
    """Put reached goals, by the time they were reached, in front of the rest of an instruction.

    Args:
        instruction: ``[W, k, g]``, that of the timestep's segment.
        begun: int32 ``[W]``, entries that were completed when the segment began.
        reached: bool ``[W]``, whether a goal was reached here.
        goals: ``[W, g]``, which.
        segments: of the window.

    Returns:
        Instructions ``[W, k, g]``.
    """
    slot = begun + segments.count(reached) - 1
    entries = []
    for entry in range(instruction.shape[1]):
        here = reached & (slot == entry)
        place = segments.most(jnp.where(here, segments.index, -1))
        entries.append(jnp.where((place >= 0)[:, None], goals[place], instruction[:, entry]))
    return jnp.stack(entries, axis=1)


def replay(
    protocol: GoalProtocol,
    timesteps: Timestep,
    segment_ids: Array,
    instruction: Array,
    begun: Array,
    completed: Array,
    segments: Segments,
) -> tuple[Timestep, Array]:
    """Work out what a window would have been under other instructions.

    Args:
        protocol: of the task.
        timesteps: the window as it was, leaves ``[W, ...]``.
        segment_ids: int32 ``[W]``.
        instruction: ``[W, k, g]``, the new one of the timestep's segment.
        begun: int32 ``[W]``, entries completed when the segment began.
        completed: bool ``[W]``, where the old instruction's goals were completed.
        segments: of the window.

    Returns:
        The window with other goals, rewards and ends, and its segment ids, 0 after an end.
    """
    observation = timesteps.observation
    achieved = observation[protocol.achieved_key]
    slots = instruction.shape[1]
    progress = jnp.zeros_like(begun)
    # A goal can be reached after the one before it, and never by the reset.
    valid = segment_ids > 0
    active = ~segments.is_start & valid
    for slot in range(slots):
        done_before = slot < begun
        reached = segments.ever(active & protocol.reached(instruction[:, slot], achieved))
        progress += done_before | reached
        active = jnp.where(done_before, active, segments.before(reached))
    newly = progress > jnp.where(segments.is_start, progress, segments.before(progress))
    gain = protocol.reward * (newly.astype(jnp.float32) - completed.astype(jnp.float32))
    reward = timesteps.previous_reward
    finished = (progress == slots) & valid
    relabelled = dataclasses.replace(
        timesteps,
        observation={
            **observation,
            protocol.goals_key: protocol.show(instruction, progress),
        },
        previous_reward=jnp.where(newly == completed, reward, reward + gain),
        is_last=timesteps.is_last | finished,
        terminated=timesteps.terminated | finished,
    )
    return relabelled, jnp.where(segments.before(finished), 0, segment_ids)
