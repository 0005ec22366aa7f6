"""Products with weights whose gradients take few kernels on an accelerator.

The gradient of a kernel sums over every timestep of a batch. XLA's GPU backend takes such a sum in
parts, so that all of the device has work, but pads both factors until parts are equal and aligned:
two kernels more for every kernel's gradient. Here parts divide the rows as they are.
"""

from typing import Any

import jax
import jax.numpy as jnp

from amago_jax.models.precision import sum_dtype
from amago_jax.types import Array

# The most parts that a sum over rows is taken in: enough to occupy a device with a small kernel's
# gradient, few enough that the parts of a large one take no memory to speak of.
PARTS = 32


@jax.custom_vjp
def product(x: Array, kernel: Array) -> Array:
    """Return ``x [..., I] @ kernel [I, O]``, ``[..., O]``, of the dtype of x."""
    return x @ kernel.astype(x.dtype)


def _forward(x: Array, kernel: Array) -> tuple[Array, Any]:
    return product(x, kernel), (x, kernel)


def _backward(residuals: Any, gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    to_kernel = jax.lax.platform_dependent(x, gradient, cpu=sum_at_once, default=sum_in_parts)
    return gradient @ kernel.T.astype(x.dtype), to_kernel.astype(kernel.dtype)


product.defvjp(_forward, _backward)


@jax.custom_vjp
def threefold_product(x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """Return ``x [..., I] @ kernel [I, 3 * O]`` in three, ``[..., O]`` each.

    Forward, these are three products, since splitting one's result is slower than splitting the
    weights; XLA's GPU backend joins them. Backward, it does not, so there they are one.
    """
    query, key, value = (x @ part for part in jnp.split(kernel.astype(x.dtype), 3, axis=1))
    return query, key, value


def _forward_threefold(x: Array, kernel: Array) -> tuple[tuple[Array, Array, Array], Any]:
    return threefold_product(x, kernel), (x, kernel)


def _backward_threefold(residuals: Any, gradients: tuple[Array, ...]) -> tuple[Array, Array]:
    x, kernel = residuals
    narrow = kernel.astype(x.dtype)

    def apart(x: Array, kernel: Array, *gradients: Array) -> tuple[Array, Array]:
        parts = zip(gradients, jnp.split(kernel, 3, axis=1), strict=True)
        to_x = [gradient @ part.T for gradient, part in parts]
        to_kernel = [sum_at_once(x, gradient) for gradient in gradients]
        return to_x[0] + to_x[1] + to_x[2], jnp.concatenate(to_kernel, axis=1)

    def joined(x: Array, kernel: Array, *gradients: Array) -> tuple[Array, Array]:
        gradient = jnp.concatenate(gradients, axis=-1)
        return gradient @ kernel.T, sum_in_parts(x, gradient)

    to_x, to_kernel = jax.lax.platform_dependent(x, narrow, *gradients, cpu=apart, default=joined)
    return to_x, to_kernel.astype(kernel.dtype)


threefold_product.defvjp(_forward_threefold, _backward_threefold)


def sum_at_once(x: Array, gradient: Array) -> Array:
    """Return the gradient of a kernel, ``[I, O]``, float32 if the factors are narrower.

    Args:
        x: ``[..., I]``, what the kernel was multiplied with.
        gradient: ``[..., O]``, of the product.
    """
    rows = tuple(range(x.ndim - 1))
    dimensions = ((rows, rows), ((), ()))
    # Not by `preferred_element_type`: XLA's CPU backend lacks some such products of bfloat16, and
    # computes those that it has in float32.
    return jax.lax.dot_general(x.astype(sum_dtype(x)), gradient.astype(sum_dtype(x)), dimensions)


def sum_in_parts(x: Array, gradient: Array) -> Array:
    """Return what `sum_at_once` returns, summed in parts of as many rows each."""
    rows = x.reshape(-1, x.shape[-1])
    parts = max(parts for parts in range(1, PARTS + 1) if len(rows) % parts == 0)
    rows = rows.reshape(parts, -1, x.shape[-1])
    gradient = gradient.reshape(parts, -1, gradient.shape[-1])
    each = jnp.einsum("pni,pno->pio", rows, gradient, preferred_element_type=sum_dtype(x))
    return each.sum(0)
