"""Advantage filters against the authors' numbers."""

import math

import pytest

from amago_jax.losses.advantage_filters import BinaryFilter, ExponentialFilter, LeakyReluFilter
from golden_files import assert_close, load


def build(name, meta):
    if name == "binary":
        return BinaryFilter(meta["threshold"])
    low, high = meta.get("clip_weights_low", -math.inf), meta.get("clip_weights_high", math.inf)
    if name == "leaky_relu":
        return LeakyReluFilter(
            beta=meta["beta"],
            hinge=meta["tau"],
            negative_slope=meta["neg_slope"],
            weight_at_zero=meta["target_f0"],
            weight_range=(low, high),
            add_binary=meta["add_binary"],
        )
    advantage_range = (meta.get("clip_adv_low", -math.inf), meta.get("clip_adv_high", math.inf))
    return ExponentialFilter(meta["beta"], advantage_range, (low, high))


@pytest.mark.parametrize("name", ["binary", "exp", "exp_clipped", "leaky_relu"])
def test_filter(name):
    golden = load("advantage_filters")
    weights = build(name, golden.meta[name])(golden["advantage"])
    assert_close(weights, golden[name], 1e-5, name)
