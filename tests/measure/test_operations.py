"""Operations are counted by hand, too."""

import jax
import jax.numpy as jnp

from amago_jax.measure.operations import loop_operations, matmul_flops, operations

SQUARE = jax.ShapeDtypeStruct((8, 8), jnp.float32)
PRODUCT = 2 * 8**3


def traced(function, *shapes):
    return jax.make_jaxpr(function)(*shapes).jaxpr


def powers(x):
    with jax.named_scope("loop"):
        x, _ = jax.lax.scan(lambda y, _: (y @ y, None), x, None, length=5)
    return x @ x


def test_loops_and_batches_count():
    assert matmul_flops(powers, SQUARE) == 6 * PRODUCT
    assert operations(traced(jax.vmap(powers), jnp.zeros((3, 8, 8)))) == {"float32": 18 * PRODUCT}


def test_a_loop_is_found_by_its_name():
    assert loop_operations(traced(powers, SQUARE), "loop") == {"float32": 5 * PRODUCT}
    assert loop_operations(traced(jax.jit(jax.vmap(powers)), jnp.zeros((3, 8, 8))), "loop") == {
        "float32": 15 * PRODUCT
    }
    assert loop_operations(traced(powers, SQUARE), "loo") is None


def test_work_split_over_devices_counts_as_a_whole():
    mesh = jax.sharding.AbstractMesh((4,), ("devices",))
    rows = jax.sharding.PartitionSpec("devices")
    split = jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=rows, out_specs=rows)
    # Each of four multiplies [2, 8] by [8, 2].
    assert matmul_flops(split, SQUARE) == 4 * 2 * 2 * 2 * 8


def test_precisions_are_told_apart():
    def mixed(x):
        half = x.astype(jnp.bfloat16)
        return half @ half, x @ x, jnp.matmul(x, x, precision="highest")

    counted = operations(traced(mixed, SQUARE))
    assert counted == {"bfloat16": PRODUCT, "float32": PRODUCT, "highest": PRODUCT}


def test_of_branches_the_largest_counts():
    def branch(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert matmul_flops(branch, SQUARE) == 2 * PRODUCT


def test_a_convolution_multiplies_each_output_by_its_filter():
    def convolve(x, filters):
        return jax.lax.conv(x, filters, (1, 1), "VALID")

    image, filters = jnp.zeros((2, 3, 8, 8)), jnp.zeros((4, 3, 5, 5))
    assert matmul_flops(convolve, image, filters) == 2 * (3 * 5 * 5) * (2 * 4 * 4 * 4)
