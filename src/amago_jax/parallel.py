"""Several devices: environments, buffer and batch are split, one learner is shared.

Every device runs the same program on its part of the mesh axis ``"data"``. What must agree, sums
of losses, gradients and statistics, goes through `data_sum`, `data_max` or `data_parts`; nothing
else crosses between devices.
Seeds that are trained side by side lie on the axis ``"seed"``, and nothing crosses that at all.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from amago_jax.types import Array

SEED_AXIS, DATA_AXIS = "seed", "data"
SHARED, SPLIT = P(), P(DATA_AXIS)
PER_SEED, PER_SEED_SPLIT = P(SEED_AXIS), P(SEED_AXIS, DATA_AXIS)


def make_mesh(devices: int, seeds: int = 1) -> Mesh:
    """Return a mesh of the first so many devices, those of all processes together.

    Args:
        devices: how many.
        seeds: S, seeds trained side by side. As many devices as divide S get seeds of their own,
            for these never wait for each other; among what is left of them, the work of one seed
            is split.

    Returns:
        A mesh of the axes ``"seed"`` and ``"data"``, whose sizes have ``devices`` as product.

    Raises:
        ValueError: if there are not as many devices, or processes would be left without any.
    """
    found, processes = jax.devices(), jax.process_count()
    if not 1 <= devices <= len(found):
        raise ValueError(f"devices={devices}, but this machine shows {len(found)}")
    if processes > 1 and devices < len(found):
        raise ValueError(
            f"devices={devices}, but {processes} processes show {len(found)}, and all must be used"
        )
    return arrange(found[:devices], seeds)


def arrange(devices: Sequence[Any], seeds: int = 1) -> Mesh:
    """Return the mesh of `make_mesh` over these devices, which need only be described."""
    groups = math.gcd(len(devices), seeds)
    return Mesh(np.asarray(devices).reshape(groups, -1), (SEED_AXIS, DATA_AXIS))


def data_sum(x: Any, axis_name: str | None) -> Any:
    """Sum a tree over devices; without an axis, return it as it is."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def data_parts(x: Array, axis_name: str) -> Array:
    """Return what each of D devices has, on all of them.

    A sum in which each has a place of its own: compilers join sums that do not wait for each other,
    such as those of losses, into one message, but not a sum and a gathering.

    Args:
        x: ``[N, ...]``.
        axis_name: the mesh axis.

    Returns:
        ``[N, D, ...]``.
    """
    places = jnp.arange(jax.lax.axis_size(axis_name)) == jax.lax.axis_index(axis_name)
    places = jax.lax.expand_dims(places, (0, *range(2, x.ndim + 1)))
    return data_sum(jnp.where(places, x[:, None], 0.0), axis_name)


def data_max(x: Array, axis_name: str | None) -> Array:
    """Maximum over devices; without an axis, return it as it is."""
    return x if axis_name is None else jax.lax.pmax(x, axis_name)


def per_device(function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Any:
    """Run a function on every device of the mesh.

    Args:
        function: sees leaves of `SPLIT` arguments with a leading axis of 1, its own part.
        mesh: from `make_mesh`.
        in_specs: `SHARED` or `SPLIT` per argument.
        out_specs: likewise of the results.
    """
    # The check of replication knows no way to be told that what `data_sum` made equal is equal.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def own_part(tree: Any) -> Any:
    """Drop the leading axis of 1 of a device's part."""
    return jax.tree.map(lambda x: x[0], tree)


def as_part(tree: Any) -> Any:
    """Give a device's part its leading axis of 1."""
    return jax.tree.map(lambda x: x[None], tree)


def device_key(key: Array) -> Array:
    """Return a key of this device's own, inside `per_device`."""
    return jax.random.fold_in(key, jax.lax.axis_index(DATA_AXIS))


@jax.custom_batching.custom_vmap
def greatest_of_seeds(x: Array) -> Array:
    """Return ``x``; under `jax.vmap`, the greatest along its axis, the same for all.

    What a loop or a choice of branches depends on must be one value, or `jax.vmap` computes every
    branch for all of them and chooses afterwards.
    """
    return x


@greatest_of_seeds.def_vmap
def _greatest_of_seeds(size: int, batched: list[bool], x: Array) -> tuple[Array, bool]:
    return (x.max(axis=0) if batched[0] else x), False
