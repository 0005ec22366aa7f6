"""Hindsight relabelling of one episode in plain Python, written from the description alone.

Goals are tuples; an episode is a list of `Step`. Choices come from a `Chooser`.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Step:
    """A timestep: the instruction shown, the goals achieved or None, and what the reward was."""

    shown: list
    achieved: list
    reward: float
    is_last: bool
    terminated: bool


class Chooser:
    """Chooses by Python's own generator `random.Random`, for one episode.

    ``weights`` are those of goals by rarity, counted by timesteps and by episodes.
    """

    def __init__(self, rng, strategy, choice="uniform", weights=None):
        self.rng, self.strategy, self.choice = rng, strategy, choice
        self.weights = weights[rng.randrange(2)] if choice == "rarity" else None

    def count(self, free):
        if self.strategy == "some":
            return self.rng.randrange(free + 1)
        if self.strategy == "all_or_nothing":
            return free if self.rng.random() < 0.8 else 0
        return free if self.strategy == "all" else 0

    def weight(self, goal):
        return 1.0 if self.weights is None else float(self.weights[goal])

    def weigh(self, options, episode, mode):
        """Weigh timesteps, each by the goals that it achieved."""
        sums = [sum(self.weight(g) for g in episode[t].achieved if g is not None) for t in options]
        return normalized(sums, mode) if self.choice == "rarity" else [1.0] * len(sums)

    def timestep(self, draw, options, episode):
        if self.choice == "final":
            return max(options)
        mode = self.rng.choices(range(4), [0.2, 0.1, 0.1, 0.6])[0]
        return self.rng.choices(options, self.weigh(options, episode, mode))[0]

    def goal(self, timestep, goals):
        return self.rng.choices(goals, [self.weight(goal) for _, goal in goals])[0][1]


class Forced(Chooser):
    """Takes the choices that `HindsightDraws` of one episode's timesteps force."""

    def __init__(self, draws, strategy, choice, weights=None):
        self.draws, self.strategy, self.choice = draws, strategy, choice
        self.weights = weights[int(draws.statistic[0])] if choice == "rarity" else None

    def count(self, free):
        share = np.float32(self.draws.share[0])
        if self.strategy == "some":
            return int(np.floor(share * np.float32(free + 1)))
        # All or nothing, in the episodes where the one or the other is to be.
        assert share in {"none": (0,), "all": (1,), "all_or_nothing": (0, 1)}[self.strategy]
        return free if share else 0

    def timestep(self, draw, options, episode):
        if self.choice == "final":
            return max(options)
        weights = self.weigh(options, episode, int(self.draws.normalization[draw][0]))
        noise = self.draws.timestep[draw]
        scores = [np.log(w) + noise[t] for w, t in zip(weights, options, strict=True)]
        return options[int(np.argmax(scores))]

    def goal(self, timestep, goals):
        noise = self.draws.goal[timestep]
        scores = [np.log(self.weight(goal)) + noise[slot] for slot, goal in goals]
        return goals[int(np.argmax(scores))][1]


def normalized(weights, mode):
    if mode == 0:
        return [1.0] * len(weights)
    if mode == 1:
        return [w - min(weights) + 1e-5 for w in weights]
    if mode == 2:
        return [max(w - np.median(weights), 1e-5) for w in weights]
    fifth = sorted(weights)[-min(5, len(weights))]
    return [w if w >= fifth else 1e-5 for w in weights]


def relabel(episode, completed_value, chooser):
    """Return the relabelled episode, cut where its instruction ends."""
    first = episode[0]
    slots = len(first.shown)
    begun = sum(goal == completed_value for goal in first.shown)
    instruction = list(first.shown)
    # 1. Where real goals were completed.
    events, active = [], begun
    for t, step in enumerate(episode[1:], start=1):
        if active < slots and instruction[active] in step.achieved:
            events.append((t, instruction[active]))
            active += 1
    # 2. How many new ones.
    count = chooser.count(slots - active)
    # 3. Which.
    real = {t for t, _ in events}
    options = [t for t in range(1, len(episode)) if any(episode[t].achieved) and t not in real]
    for draw in range(min(count, len(options))):
        t = chooser.timestep(draw, options, episode)
        options.remove(t)
        goals = [(slot, goal) for slot, goal in enumerate(episode[t].achieved) if goal is not None]
        events.append((t, chooser.goal(t, goals)))
    # 4. In the order of time, in front of the rest.
    for slot, (_, goal) in enumerate(sorted(events), start=begun):
        instruction[slot] = goal
    # 5. Replay.
    relabelled, active = [], begun
    for t, step in enumerate(episode):
        was = 0 if t == 0 else int(t in real)
        now = 0
        if t > 0 and active < slots and instruction[active] in step.achieved:
            active, now = active + 1, 1
        shown = [completed_value if i < active else goal for i, goal in enumerate(instruction)]
        finished = active == slots
        relabelled.append(
            Step(
                shown=shown,
                achieved=step.achieved,
                reward=step.reward + now - was,
                is_last=step.is_last or finished,
                terminated=step.terminated or finished,
            )
        )
        if finished:
            break
    return relabelled
