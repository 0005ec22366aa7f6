"""Statistics of before and of the authors' come in and go out without losing what they held."""

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.agents.moments_of_squares import (
    MomentsOfSquares,
    shapes_with_squares,
    with_squares,
    with_variances,
)
from amago_jax.models.normalization import init_popart


def of_squares(mean, squares):
    return MomentsOfSquares(*(jnp.asarray(x, jnp.float32) for x in (mean, squares, 7.0)))


def test_what_comes_in_goes_out_bit_for_bit():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=200) * 10 ** rng.uniform(-3, 4, 200)
    old = of_squares(mean, np.square(mean) + 10 ** rng.uniform(-3, 4, 200))
    new = with_variances({"moments": old, "other": 1})["moments"]
    exact = np.asarray(old.mean_of_squares, np.float64) - np.asarray(old.mean, np.float64) ** 2
    np.testing.assert_allclose(new.variance, np.maximum(exact, 0), rtol=1e-7)
    positive = exact > 0
    again = with_squares(new)
    np.testing.assert_array_equal(again.mean, old.mean)
    np.testing.assert_array_equal(again.mean_of_squares[positive], old.mean_of_squares[positive])
    assert again.steps == old.steps


def test_a_variance_that_rounding_made_negative_becomes_zero():
    (variance,) = with_variances(of_squares([1e4], [np.nextafter(np.float32(1e8), 0)])).variance
    assert variance == 0


def test_remainders_are_part_of_what_goes_out():
    moments = init_popart(1, 2.0).moments.replace(
        mean=jnp.asarray([4096.0]), remainder=jnp.asarray([2.0**-12])
    )
    assert with_squares(moments).mean_of_squares == 2.0**24 + 2 + 2  # 2 * mean * remainder, too


def test_shapes_are_those_of_before():
    like = jax.eval_shape(lambda: init_popart(3))
    older = shapes_with_squares(like)
    assert older.moments.mean_of_squares.shape == (3,)
    assert len(jax.tree.leaves(older)) == len(jax.tree.leaves(like)) - 1


def test_what_comes_in_is_as_free_to_move_as_it_was():
    """Of a bound argument all results are bound, and the program that takes them is another."""
    old = of_squares([1.0], [2.0])
    assert not any(x.committed for x in jax.tree.leaves(with_variances(old)))
    bound = jax.device_put(old, jax.devices()[0])
    assert all(x.committed for x in jax.tree.leaves(with_variances(bound)))
    assert not any(x.committed for x in jax.tree.leaves(with_squares(with_variances(old))))
