"""Statistics of a few seeds, and how sure they are: intervals are bootstrapped over seeds.

Source: Agarwal et al. 2021, arXiv 2108.13264, sections 4.1 to 4.3.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Statistic = Callable[..., Any]

CONFIDENCE = 0.95
RESAMPLES = 2000
LAST = 3  # evaluations that make up a run's final value


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the statistic of what was measured.
        low: the interval's lower end; None if there is no interval, as of one seed.
        high: its upper end, likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: the percentile bootstrap, the same draws every time.

    Attributes:
        confidence: share of intervals that would hold the true value, were seeds many.
        resamples: sets of seeds drawn with replacement.
    """

    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES

    def estimate(self, statistic: Statistic, *samples: Sequence[float]) -> Estimate:
        """Compute a statistic and its interval.

        Args:
            statistic: of as many arrays as there are samples, along their last axis.
            *samples: one value per seed each; seeds of different samples are not paired.

        Returns:
            The estimate; without an interval if a sample has one seed only.
        """
        arrays = [np.asarray(sample, float) for sample in samples]
        value = float(statistic(*arrays))
        if min(len(array) for array in arrays) < 2:
            return Estimate(value)
        low, high = self._interval(statistic, *arrays)
        return Estimate(value, float(low), float(high))

    def band(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the interval of the mean over seeds at each of many points.

        Args:
            values: ``[seeds, N]``, of at least two seeds.

        Returns:
            Its lower and its upper end, ``[N]`` each.
        """
        return self._interval(np.mean, np.moveaxis(values, 0, -1))

    def _interval(self, statistic: Statistic, *samples: np.ndarray) -> tuple:
        from scipy import stats  # takes as long to import as drawing does

        interval = stats.bootstrap(
            samples,
            statistic,
            n_resamples=self.resamples,
            confidence_level=self.confidence,
            method="percentile",
            vectorized=True,
            axis=-1,
            rng=np.random.default_rng(0),
        ).confidence_interval
        return interval.low, interval.high


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average what is left without the least and the greatest quarter.

    Args:
        values: of every seed along ``axis``. Of fewer than four none is left out.
        axis: of the seeds.

    Returns:
        The mean of the middle; a quarter that is no whole number of seeds is rounded down.

    Source: Agarwal et al. 2021, section 4.3.
    """
    ordered = np.sort(values, axis)
    count = ordered.shape[axis]
    middle = np.arange(count // 4, count - count // 4)
    return np.take(ordered, middle, axis).mean(axis)


def probability_of_improvement(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Compute how often a seed of one setting does better than one of another; ties count half.

    Args:
        x: values of every seed of one setting along ``axis``.
        y: those of the other, as many or not.
        axis: of the seeds.

    Returns:
        P(X > Y) + P(X = Y) / 2 over all pairs of seeds: 0.5 if neither is better.

    Source: Agarwal et al. 2021, section 4.3; the Mann-Whitney U statistic over its greatest value.
    """
    left = np.expand_dims(np.moveaxis(x, axis, -1), -1)
    right = np.expand_dims(np.moveaxis(y, axis, -1), -2)
    return ((left > right) + 0.5 * (left == right)).mean((-2, -1))


def final_value(values: Sequence[float], last: int = LAST) -> float:
    """Average the last evaluations of a run; NaN without any."""
    return float(np.mean(values[-last:])) if len(values) else math.nan


def first_at(xs: np.ndarray, ys: np.ndarray, score: float) -> float:
    """Find where a run first came to a score.

    Args:
        xs: steps, updates or seconds, rising, ``[N]``.
        ys: what was evaluated there, ``[N]``.
        score: to come to.

    Returns:
        The x of the first evaluation of at least that score; infinity if there is none.
    """
    return next((float(x) for x, y in zip(xs, ys, strict=True) if y >= score), math.inf)
