"""Products and their gradients are those of plain products, on a processor and elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.models.products import product, sum_at_once, sum_in_parts, threefold_product


def normal(seed, *shape, dtype=jnp.float32):
    return jax.device_put(np.random.default_rng(seed).normal(size=shape).astype(dtype))


@pytest.mark.parametrize("leading", [(), (7,), (4, 17), (2, 3, 64)])
def test_gradients_are_those_of_plain_products(leading):
    x, kernel, weights = normal(0, *leading, 5), normal(1, 5, 6), normal(2, *leading, 6)

    def threefold(x, kernel):
        return jnp.concatenate(threefold_product(x, kernel), axis=-1)

    def gradients(multiply):
        of_sum = jax.grad(lambda *factors: (weights * multiply(*factors)).sum(), (0, 1))
        return jax.jit(of_sum)(x, kernel)

    expected = gradients(jnp.matmul)
    for multiply in (product, threefold):
        np.testing.assert_allclose(
            jax.jit(multiply)(x, kernel), np.matmul(x, kernel), rtol=1e-5, atol=1e-6
        )
        for found, wanted in zip(gradients(multiply), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    # What a processor does not run, by itself.
    at_once, in_parts = sum_at_once(x, weights), sum_in_parts(x, weights)
    np.testing.assert_allclose(at_once, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(in_parts, expected[1], rtol=1e-4, atol=1e-5)


def test_sums_of_narrow_numbers_are_wide():
    x, gradient = (normal(seed, 64, 3, dtype=jnp.bfloat16) for seed in (0, 1))
    for total in (sum_at_once, sum_in_parts):
        found = total(x, gradient)
        assert found.dtype == jnp.float32
        wanted = np.asarray(x, np.float64).T @ np.asarray(gradient, np.float64)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_elsewhere_the_three_are_differentiated_as_one():
    def products(platform):
        """Count them as lowered for a platform, which need not be there."""
        loss = jax.grad(lambda *factors: sum(y.sum() for y in threefold_product(*factors)), (0, 1))
        traced = jax.jit(loss).trace(normal(0, 4, 17, 5), normal(1, 5, 6))
        return traced.lower(lowering_platforms=(platform,)).as_text().count("dot_general")

    # Forward, three; backward, two for each of them, or two.
    assert products("cpu") - products("cuda") == 4
