"""Floating-point operations of matrix products and convolutions, counted as they were written.

They are counted in what JAX traced, before any compiler: what is computed anew for gradients
counts again, padding and a kernel's own operations do not count.
"""

import collections
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

# Operations by the precision they ask for: a dtype of inputs, or "highest", which is float32
# whatever the device likes better.
Operations = Mapping[str, float]


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Count a function's floating-point operations in matrix products and convolutions.

    Loops included, as far as their lengths are known.
    """
    return sum(operations(jax.make_jaxpr(function)(*arguments).jaxpr).values())


def operations(jaxpr: Any) -> Operations:
    """Count the operations of a jaxpr, loops included as far as their lengths are known.

    Of branches, those of the largest count; of work split over devices, those of all of them.

    Returns:
        Floating-point operations by precision, see `Operations`.
    """
    total: dict[str, float] = collections.defaultdict(float)
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "pallas_call":
            continue  # what it holds is one block's, and how many blocks do work is not said
        repeats = _repeats(equation)
        parts = [operations(inner) for inner in jaxprs_in_params(equation.params)]
        if name == "cond":
            # Of branches by platform, as large each, the last is an accelerator's.
            parts = [max(reversed(parts), key=lambda part: sum(part.values()))]
        for part in [*parts, _own(equation)]:
            for precision, count in part.items():
                total[precision] += repeats * count
    return dict(total)


def _repeats(equation: Any) -> int:
    """How often what an equation holds is done: a loop's turns, a device's part of split work."""
    if equation.primitive.name == "scan":
        return int(equation.params["length"])
    return int(equation.params["mesh"].size) if equation.primitive.name == "shard_map" else 1


def loop_operations(jaxpr: Any, scope: str) -> Operations | None:
    """Count the operations of all turns of a loop.

    Args:
        jaxpr: of a function, on each device's part if it is split over devices.
        scope: the loop was traced under `jax.named_scope` of it.

    Returns:
        As `operations`; None if there is no such loop.
    """
    named = re.compile(rf"(^|[/(]){scope}\)*$")
    for equation in jaxpr.eqns:
        scopes = str(equation.source_info.name_stack)
        if equation.primitive.name == "scan" and named.search(scopes):
            (body,) = jaxprs_in_params(equation.params)
            length = equation.params["length"]
            return {precision: length * count for precision, count in operations(body).items()}
        for inner in jaxprs_in_params(equation.params):
            found = loop_operations(inner, scope)
            if found is not None:
                return found
    return None


def _own(equation: Any) -> Operations:
    """Count the operations of one product, nothing of any other equation."""
    if equation.primitive.name == "dot_general":
        ((contracted, _), _) = equation.params["dimension_numbers"]
        summed = [equation.invars[0].aval.shape[axis] for axis in contracted]
    elif equation.primitive.name == "conv_general_dilated":
        axes = equation.params["dimension_numbers"].rhs_spec[1:]
        summed = [equation.invars[1].aval.shape[axis] for axis in axes]
    else:
        return {}
    outputs = np.prod(equation.outvars[0].aval.shape, dtype=float)
    return {_precision(equation): float(2.0 * np.prod(summed, dtype=float) * outputs)}


def _precision(equation: Any) -> str:
    asked = equation.params.get("precision")
    if asked is not None and jax.lax.Precision.HIGHEST in tuple(np.atleast_1d(asked)):
        return "highest"
    return str(equation.invars[0].aval.dtype)
