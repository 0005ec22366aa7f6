"""Metrics of many updates: one array while updates are taken, numbers by name afterwards.

A loop over updates writes whatever it returns for each of them. Some forty numbers are forty
writes, each waiting to be launched; in one array they are one.
"""

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


def summarize(metrics: JoinedMetrics) -> Metrics:
    """Reduce metrics ``[N, M]`` by name: minima and maxima by their own kind, others by their mean.

    Returns:
        float32 ``[]`` by name.
    """
    kinds = {"min": metrics.values.min(0), "max": metrics.values.max(0)}
    mean = metrics.values.mean(0)
    return {
        name: kinds.get(name.rpartition("_")[2], mean)[column]
        for column, name in enumerate(metrics.names)
    }
