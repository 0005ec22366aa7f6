"""Values as categorical distributions over bins, so that learning them is classification.

The scale of returns then no longer scales the loss, which is what lets one agent learn tasks of
very different rewards.

Source: AMAGO-2 (Grigsby et al. 2024, arXiv 2411.11188), section 4; two-hot labels: Hafner et al.
2023, arXiv 2301.04104; HL-Gauss: Farebrother et al. 2024, arXiv 2403.03950.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from amago_jax.axes import align
from amago_jax.kinds import Whole
from amago_jax.models.symlog import symexp, symlog
from amago_jax.settings import Positive, check_fields
from amago_jax.types import Array

Bins = Annotated[int, Whole(2)]
Labels = Literal["two_hot", "hl_gauss"]


@dataclasses.dataclass(frozen=True)
class ValueBins:
    """Bins evenly spaced between two returns, in symlog space or as they are.

    Attributes:
        min_return: value of the first bin.
        max_return: value of the last bin.
        bins: how many.
        use_symlog: space the bins evenly in symlog space.
        labels: "two_hot": weight on the two nearest bins; "hl_gauss": the mass that a Gaussian
            around the value puts into each bin.
        gauss_width: its standard deviation, in bin widths.
    """

    min_return: float = -100_000.0
    max_return: float = 100_000.0
    bins: Bins = 128
    use_symlog: bool = True
    labels: Labels = "two_hot"
    gauss_width: Positive = 0.75

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if a setting is not what its annotation says, or the range is empty.
        """
        check_fields(self)
        if not self.min_return < self.max_return:
            raise ValueError(
                f"min_return={self.min_return} must be below max_return={self.max_return}"
            )

    def _to_bin_space(self, values: Array) -> Array:
        return symlog(values) if self.use_symlog else values

    @property
    def centers(self) -> Array:
        """The bins' centers in the space they are evenly spaced in, float32 ``[bins]``."""
        ends = self._to_bin_space(jnp.array([self.min_return, self.max_return]))
        return jnp.linspace(ends[0], ends[1], self.bins)

    def decode(self, logits: Array) -> Array:
        """Return the value ``[...]`` of logits ``[..., bins]``: the expected bin, back in units."""
        expected = (jax.nn.softmax(logits) * align(self.centers, logits)).sum(-1)
        return symexp(expected) if self.use_symlog else expected

    def encode(self, values: Array) -> Array:
        """Return labels ``[..., bins]`` that sum to 1, for values ``[...]`` within the range.

        Beyond the range, two-hot labels stay on the end bin; a Gaussian many bins beyond it puts
        no mass into any, so that its labels, and its loss, are 0, as in the authors' code.
        """
        position = self._to_bin_space(values)[..., None]
        centers = self.centers
        first, last, width = centers[0], centers[-1], centers[1] - centers[0]
        if self.labels == "two_hot":
            apart = jnp.abs(jnp.clip(position, first, last) - align(centers, position))
            return jnp.maximum(1.0 - apart / width, 0.0)
        edges = jnp.append(centers - 0.5 * width, last + 0.5 * width)
        edges = align(edges, position)
        below = jax.scipy.stats.norm.cdf(edges, position, self.gauss_width * width)
        mass = jnp.diff(below, axis=-1)
        return mass / jnp.maximum(mass.sum(-1, keepdims=True), 1e-6)

    def cross_entropy(self, logits: Array, values: Array) -> Array:
        """Return the loss ``[...]`` of logits ``[..., bins]`` against values ``[...]``."""
        return -(align(self.encode(values), logits) * jax.nn.log_softmax(logits)).sum(-1)
