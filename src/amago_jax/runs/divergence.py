"""Signs that a run has gone wrong though all its numbers are finite, told once each, with advice.

Every sign must show for several epochs in a row: a healthy run may look odd for one.
"""

import math
import warnings
from collections.abc import Callable, Sequence

from amago_jax.learning import Trainer

# Normalization scales observations by 1e6 at most, and few numbers are small then.
LARGE_OBSERVATION = 1e9
# Values may be so many times as large as any sum of rewards seen, and this much besides, before
# they count as exploding: until they have learned, networks and PopArt's start decide.
EXPLODED, EXPLODED_BESIDES = 10.0, 100.0
# A policy has collapsed if this share of its first entropy is left, or, where actions are real
# numbers and entropy may be below 0, if it has lost so many nats for each of them.
COLLAPSED_SHARE, COLLAPSED_NATS = 0.05, 3.5
# A filter is dead if it lets pass less than this share of all actions, or all but this.
DEAD_SHARE = 0.0005
# Gradients are huge if they are so many times as long as they were at first, and at least so long.
HUGE_TIMES, HUGE_NORM = 1e3, 1e5

Row = dict[str, float]


class Divergence:
    """Watches a run's epochs.

    Attributes:
        told: the kinds of signs that were told.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Begin with nothing seen.

        Args:
            trainer: the run's.
        """
        self.follow(trainer)
        self._learned_before = False
        self._reward = 0.0 if trainer.hindsight is None else abs(trainer.hindsight.protocol.reward)
        self._first: Row = {}
        self._in_a_row: dict[str, int] = {}
        self.told: set[str] = set()

    def follow(self, trainer: Trainer) -> None:
        """Judge by another trainer's settings from now on."""
        self._agent = trainer.agent

    def remember(self, rows: Sequence[Row], *, learned_before: bool = False) -> None:
        """Take over what was there before this process.

        Args:
            rows: of the run so far.
            learned_before: whether it began with weights: what it was at first is not known then.
        """
        self._learned_before = learned_before
        for row in rows:
            self._note_first(row)

    def watch(self, row: Row, health: Row) -> None:
        """Look at an epoch, and warn of what shows for long enough.

        Args:
            row: its metrics; whatever is missing shows nothing.
            health: what `amago_jax.learning.health` says of it.
        """
        self._reward = max(self._reward, health["largest_reward"])
        self._note_first(row)
        for kind, (sign, epochs) in SIGNS.items():
            said = sign(self, row, health)
            self._in_a_row[kind] = 0 if said is None else self._in_a_row.get(kind, 0) + 1
            if said is not None and self._in_a_row[kind] >= epochs and kind not in self.told:
                self.told.add(kind)
                warnings.warn(f"in epoch {row['epoch']:.0f}, {said}", stacklevel=4)

    def _note_first(self, row: Row) -> None:
        for name, value in row.items():
            if math.isfinite(value):
                self._first.setdefault(name, value)

    # The signs: each returns a sentence, or None.

    def _saturated(self, row: Row, health: Row) -> str | None:
        if not health["saturated"]:
            return None
        return (
            "TD targets deviate by more than 1e4, the most that PopArt scales by (rewards reached "
            f"{self._reward:.2g}, times agent.reward_multiplier={self._agent.reward_multiplier:g})"
            ": critics learn badly; scale rewards down, or set a smaller agent.reward_multiplier"
        )

    def _large_observations(self, row: Row, health: Row) -> str | None:
        largest = health["largest_observation"]
        if largest <= LARGE_OBSERVATION:
            return None
        return (
            f"observations reached {largest:.2g}, more than normalization can scale: little is "
            "learned from them; scale them down"
        )

    def _exploding_values(self, row: Row, health: Row) -> str | None:
        factor, gamma = self._agent.reward_multiplier, self._agent.gammas[-1]
        most = self._reward * factor / (1.0 - gamma)
        value = max((abs(row[x]) for x in ("value/q", "value/v") if x in row), default=0.0)
        if self._reward == 0 or not value > EXPLODED * most + EXPLODED_BESIDES:
            return None
        return (
            f"values are {value:.2g} on average, where no sum of the rewards seen exceeds "
            f"{most:.2g} (in units of agent.reward_multiplier={factor:g}): critics overestimate; "
            "try a smaller agent.tau or optimizer.learning_rate, or more agent.critics"
        )

    def _collapsed_entropy(self, row: Row, health: Row) -> str | None:
        first, now = self._first.get("actor/entropy"), row.get("actor/entropy")
        if first is None or now is None or self._has_improved(row):
            return None
        if self._agent.distribution.kind == "continuous":
            collapsed = first - now > COLLAPSED_NATS * self._agent.action_size
        else:
            collapsed = now < COLLAPSED_SHARE * first
        if not collapsed:
            return None
        return (
            f"the policy's entropy is {now:.2g} nats, of {first:.2g} at first, and returns are no "
            "better than then: it explores no more; raise exploration.start or its anneal_steps, "
            "or try a smaller optimizer.learning_rate"
        )

    def _has_improved(self, row: Row) -> bool:
        """Whether returns are better than at first, as far as is known."""
        now, first = row.get("train/return", math.nan), self._first.get("train/return", -math.inf)
        return self._learned_before or math.isnan(now) or now > first

    def _dead_filter(self, row: Row, health: Row) -> str | None:
        passed = row.get("actor/filter_accepted")
        if passed is None or not self._agent.advantage_filter.uses_advantage:
            return None
        if self._has_improved(row):  # where a policy takes the best action, none is better
            return None
        if passed < DEAD_SHARE:
            what, advice = "next to nothing", "a smaller threshold"
        elif abs(passed - 1.0) < DEAD_SHARE:
            what, advice = "everything", "a larger threshold"
        else:
            return None
        return (
            f"the advantage filter passes {what} ({100 * passed:.3g}% of actions), and returns are "
            "no better than at first: its term "
            f"teaches {'nothing' if passed < 0.5 else 'whatever was done'}; try {advice} or "
            "another advantage_filter, and see whether value/advantage tells actions apart"
        )

    def _huge_gradients(self, row: Row, health: Row) -> str | None:
        first, now = self._first.get("gradient/norm"), row.get("gradient/norm")
        if first is None or now is None or not now > max(HUGE_TIMES * first, HUGE_NORM):
            return None
        return (
            f"gradients are {now:.2g} long, {now / first:.2g} times as long as at first: learning "
            "diverges; try a smaller optimizer.learning_rate, or more optimizer.warmup_updates"
        )


# By kind: the sign, and for how many epochs in a row it must show.
SIGNS: dict[str, tuple[Callable[[Divergence, Row, Row], str | None], int]] = {
    "saturated": (Divergence._saturated, 1),
    "observations": (Divergence._large_observations, 1),
    "values": (Divergence._exploding_values, 3),
    "gradients": (Divergence._huge_gradients, 3),
    "filter": (Divergence._dead_filter, 10),
    "entropy": (Divergence._collapsed_entropy, 20),
}
