"""Metrics of many updates: one array while updates are taken, numbers by name afterwards.

A loop over updates writes whatever it returns for each of them. Some forty numbers are forty
writes, each waiting to be launched; in one array they are one.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.types import Array, Metrics


@struct.dataclass
class JoinedMetrics:
    """Metrics side by side.

    Attributes:
        values: float32 ``[..., M]``.
        names: of the M columns.
    """

    values: Array
    names: tuple[str, ...] = struct.field(pytree_node=False)


def join(metrics: Metrics) -> JoinedMetrics:
    """Join the metrics of one update, ``[]`` each."""
    return JoinedMetrics(jnp.stack(list(metrics.values())), tuple(metrics))


def summarize(metrics: JoinedMetrics, taken: Array | None = None) -> Metrics:
    """Reduce metrics ``[N, M]`` by name: minima and maxima by their own kind, others by their mean.

    Args:
        metrics: of N updates.
        taken: bool ``[N]``, the updates to reduce over; None: all.

    Returns:
        float32 ``[]`` by name; NaN if no update was taken.
    """
    values = metrics.values
    if taken is None:
        taken = jnp.ones(len(values), bool)
    count, where = taken.sum(), taken[:, None]
    nothing = jnp.where(count > 0, 0.0, jnp.nan)
    kinds = {
        "min": values.min(0, initial=jnp.inf, where=where) + nothing,
        "max": values.max(0, initial=-jnp.inf, where=where) + nothing,
    }
    mean = values.sum(0, where=where) / count
    return {
        name: kinds.get(name.rpartition("_")[2], mean)[column]
        for column, name in enumerate(metrics.names)
    }


def floats(metrics: Metrics) -> dict[str, float]:
    """Return metrics on the device as numbers."""
    return {name: float(value) for name, value in jax.device_get(metrics).items()}
