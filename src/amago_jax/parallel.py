"""Several devices: environments, buffer and batch are split, one learner is shared.

Every device runs the same program on its part of the mesh axis ``"data"``. What must agree, sums
of losses, gradients and statistics, goes through `data_sum`; nothing else crosses between devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from amago_jax.types import Array

DATA_AXIS = "data"
SHARED, SPLIT = P(), P(DATA_AXIS)


def make_mesh(devices: int) -> Mesh:
    """Return a mesh of the first so many local devices on the axis ``"data"``.

    Raises:
        ValueError: if there are not as many.
    """
    found = jax.local_devices()
    if not 1 <= devices <= len(found):
        raise ValueError(f"devices={devices}, but this machine shows {len(found)}")
    return Mesh(np.asarray(found[:devices]), (DATA_AXIS,))


def data_sum(x: Any, axis_name: str | None) -> Any:
    """Sum a tree over devices; without an axis, return it as it is."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)


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
