"""Linear layers, sigma reparametrization and the plain multi-layer perceptron.

Layers compute in the dtype of their input and answer in it; parameters are float32. In bfloat16,
products are of bfloat16, and the gradients of biases and scales are sums of float32.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer

from amago_jax.axes import align
from amago_jax.kinds import OneOf
from amago_jax.models.precision import at_least_float32
from amago_jax.models.products import product
from amago_jax.types import Array, Dtype, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    # Written as a maximum, which XLA fuses with the product before it.
    "leaky_relu": lambda x: jnp.maximum(x, 0.01 * x),
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
ActivationName = Annotated[str, OneOf(tuple(ACTIVATIONS))]


def activation(name: str) -> Callable[[Array], Array]:
    """Look an activation function up by name.

    Raises:
        ValueError: if there is no such activation.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is not one of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def uniform_fan_in(fan_in: int) -> Initializer:
    """Uniform on ±1/sqrt(fan_in), for kernels and biases alike: PyTorch's default for a linear.

    The published hyperparameters were tuned on networks that start this way.
    """
    bound = fan_in**-0.5

    def init(key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)

    return init


def follow_input(
    *arrays: Array | None, dtype: Any = None, inexact: bool = True
) -> list[Array | None]:
    """Cast a kernel to its input's dtype; to be given to Flax's layers as ``promote_dtype``.

    The bias stays float32, and with it the sum that is its gradient: over a batch's timesteps,
    bfloat16 would soon count no further. So the result is float32 if there is a bias.

    Args:
        *arrays: input, kernel, and bias or None.
        dtype: unused, as is inexact; Flax's layers give them.
        inexact: see dtype.
    """
    x, kernel, bias = arrays
    assert x is not None
    assert kernel is not None
    return [x, kernel.astype(x.dtype), bias]


class Linear(nn.Module):
    """A linear map with bias on the last axis, started as PyTorch starts it."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., I]`` to ``[..., features]``."""
        init = uniform_fan_in(x.shape[-1])
        dense = nn.Dense(
            self.features,
            kernel_init=init,
            bias_init=init,
            promote_dtype=follow_input,
            dot_general=_product_for_dense,
            name="dense",
        )
        return dense(x).astype(x.dtype)


def _product_for_dense(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`product`, as `nn.Dense` calls what multiplies."""
    return product(x, kernel)


class Dropout(nn.Module):
    """Dropout whose mask is drawn once per pass, from 16 random bits a number.

    Without the barrier, XLA draws the mask again wherever the backward pass needs it, which on a
    CPU costs more than the layers around it.

    Attributes:
        rate: share of the numbers set to zero; the rest grows so that the mean stays.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, training: bool) -> Array:
        """Drop from ``x`` of any shape, in training; rng "dropout"."""
        if not training or self.rate == 0.0:
            return x
        dropped = round(self.rate * 2**16)
        bits = jax.random.bits(self.make_rng("dropout"), x.shape, jnp.uint16)
        keep = jax.lax.optimization_barrier(bits >= dropped)
        # Scaled last, so that of the gradient, too, one array is written: scaled, then selected.
        return jnp.where(keep, x, 0.0) * (1.0 / (1.0 - dropped / 2**16))


@jax.custom_vjp
def materialize_gradient(x: Array) -> Array:
    """Return ``x``; its gradient is written out once where it arrives, if on a CPU.

    The gradient of a residual stream is a sum that grows with every layer it passes, and XLA's CPU
    backend fuses the whole sum anew into each of its uses: work that is quadratic in the depth.
    A conditional ends a fusion, where an optimization barrier is dropped too early to.
    """
    return x


def _forward(x: Array) -> tuple[Array, None]:
    return x, None


def _write_out(gradient: Array) -> Array:
    first = gradient.ravel()[0]
    nan = jnp.full_like(gradient, jnp.nan)
    return jax.lax.cond(first == first, lambda g, _: g, lambda _, nan: nan, gradient, nan)


def _backward(_: None, gradient: Array) -> tuple[Array]:
    return (jax.lax.platform_dependent(gradient, cpu=_write_out, default=lambda g: g),)


materialize_gradient.defvjp(_forward, _backward)


class SigmaReparamLinear(nn.Module):
    """A linear map whose spectral norm is a learned scalar: W_hat = (gamma / sigma) W.

    sigma = u^T W v estimates the largest singular value of W; u and v (collection
    ``"statistics"``) take one power iteration per training pass and carry no gradient. Bounding
    the spectral norm keeps attention entropy from collapsing, which is what lets long-context
    Transformers train stably off-policy.

    Source: Zhai et al. 2023, arXiv 2303.06296; AMAGO, section 3.

    Attributes:
        input_size: input width.
        features: output width.
        use_bias: add a bias.
        enabled: off gives a plain linear with the same initial kernel (an ablation).
    """

    input_size: int
    features: int
    use_bias: bool = True
    enabled: bool = True

    def setup(self) -> None:
        """Create W, gamma, u, v and the bias."""
        shape = (self.input_size, self.features)
        self.raw_kernel = self.param("kernel", nn.initializers.truncated_normal(0.02), shape)
        if self.use_bias:
            self.bias = self.param("bias", uniform_fan_in(self.input_size), (self.features,))
        if self.enabled:
            self.gamma = self.param("gamma", nn.initializers.ones, ())
            # The kernel is W^T, [in, out], so u lives on its second axis and v on its first.
            self.u = self.variable("statistics", "u", self._singular_vector, 1)
            self.v = self.variable("statistics", "v", self._singular_vector, 0)

    def kernel(self, training: bool = False) -> Array:
        """Return W_hat ``[input_size, features]``; with ``training``, u and v move first."""
        return reparametrized_kernels([self], training)[0]

    def move(self, u: Array, v: Array) -> None:
        """Keep singular vectors, where statistics may move."""
        if self.is_mutable_collection("statistics") and not self.is_initializing():
            self.u.value, self.v.value = u, v

    def __call__(self, x: Array, training: bool = False, kernel: Array | None = None) -> Array:
        """Map ``[..., input_size]`` to ``[..., features]``.

        Args:
            x: ``[..., input_size]``.
            training: u and v move.
            kernel: W_hat, if it was worked out before.
        """
        y = product(x, self.kernel(training) if kernel is None else kernel)
        return (y + align(self.bias, y)).astype(x.dtype) if self.use_bias else y

    def _singular_vector(self, axis: int) -> Array:
        left, _, right = jnp.linalg.svd(self.raw_kernel, full_matrices=False)
        return left[:, 0] if axis == 0 else right[0]


def reparametrized_kernels(
    linears: Sequence[SigmaReparamLinear], training: bool = False
) -> list[Array]:
    """Return W_hat of every linear; those of equal shapes take their power iterations together.

    A power iteration is a chain of small products and norms, and a device waits longer for one of
    them to be launched than it works on it.

    Args:
        linears: of one kind, reparametrized or not.
        training: u and v move first.
    """
    kernels = [linear.raw_kernel for linear in linears]
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, linear in enumerate(linears):
        if linear.enabled:
            alike.setdefault(kernels[index].shape, []).append(index)
    for indices in alike.values():
        scaled = _reparametrize([linears[index] for index in indices], training)
        for index, kernel in zip(indices, scaled, strict=True):
            kernels[index] = kernel
    return kernels


def _reparametrize(linears: Sequence[SigmaReparamLinear], training: bool) -> Array:
    """Return W_hat ``[N, I, O]`` of linears of one shape."""
    kernels = jnp.stack([linear.raw_kernel for linear in linears])
    gamma = jnp.stack([linear.gamma for linear in linears])
    u = jnp.stack([linear.u.value for linear in linears])
    v = jnp.stack([linear.v.value for linear in linears])
    if training:
        frozen = jax.lax.stop_gradient(kernels)
        u = _unit(jnp.einsum("ni,nio->no", v, frozen))
        v = _unit(jnp.einsum("nio,no->ni", frozen, u))
        for index, linear in enumerate(linears):
            linear.move(u[index], v[index])
    # W u is what the second half of the iteration has just worked out.
    sigma = (v * jnp.einsum("nio,no->ni", kernels, u)).sum(1)
    return kernels * (gamma / sigma)[:, None, None]


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def fold_sigma(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> Params:
    """Replace every sigma-reparametrized kernel W by W_hat, the kernel of a plain linear.

    Args:
        params: parameters of a module, nested dictionaries.
        statistics: its collection ``"statistics"``.

    Returns:
        Parameters for the same module with `SigmaReparamLinear.enabled` off.
    """
    folded = {}
    for name, value in params.items():
        if not isinstance(value, Mapping):
            folded[name] = value
        elif "gamma" in value:
            u, v = statistics[name]["u"], statistics[name]["v"]
            scale = value["gamma"] / (v @ value["kernel"] @ u)
            rest = {key: leaf for key, leaf in value.items() if key != "gamma"}
            folded[name] = {**rest, "kernel": value["kernel"] * scale}
        else:
            folded[name] = fold_sigma(value, statistics.get(name, {}))
    return folded


def cast_kernels(params: Mapping[str, Any], dtype: Dtype, keep: str | None = None) -> Params:
    """Cast the kernels of layers that follow their input's dtype, as they do at every call.

    Args:
        params: parameters of a module whose inputs will be of the dtype, nested dictionaries.
        dtype: the dtype.
        keep: name of layers that stay as they are, if any.

    Returns:
        The parameters; biases, norms and whatever is not a plain layer stay as they are.
    """
    cast = {}
    for name, value in params.items():
        if not isinstance(value, Mapping) or name == keep:
            cast[name] = value
        elif "kernel" in value and value.keys() <= {"kernel", "bias"}:
            cast[name] = {**value, "kernel": value["kernel"].astype(dtype)}
        else:
            cast[name] = cast_kernels(value, dtype, keep)
    return cast


class MLP(nn.Module):
    """Hidden layers, each linear then activation, and an output linear.

    Attributes:
        hidden_size: width of every hidden layer.
        layers: number of hidden layers.
        output_size: width of the output.
        activation: name of the activation, see `ACTIVATIONS`.
        float32_output: the output layer computes in float32 at least, whatever the others do.
    """

    hidden_size: int
    layers: int
    output_size: int
    activation: str = "leaky_relu"
    float32_output: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., I]`` to ``[..., output_size]``."""
        act = activation(self.activation)
        for index in range(self.layers):
            x = act(Linear(self.hidden_size, name=f"hidden_{index}")(x))
        x = at_least_float32(x) if self.float32_output else x
        return Linear(self.output_size, name="output")(x)
