"""Action distributions against the authors' numbers."""

import jax
import jax.numpy as jnp

from amago_jax.models.distributions import (
    Beta,
    Discrete,
    MultiBinary,
    TanhGaussian,
    TanhMixture,
)
from amago_jax.models.distributions.discrete import soften
from golden_files import assert_close, load


def test_discrete():
    golden = load("dist_discrete")
    low, high = golden.meta["clip_prob_low"], golden.meta["clip_prob_high"]
    logits, actions = golden["logits"], golden["actions"]
    discrete = Discrete(logits.shape[-1], low, high)
    assert_close(discrete.probabilities(logits), golden["probs"], 1e-5)
    assert_close(discrete.log_prob(logits, actions), golden["log_prob"], 1e-5)
    assert_close(discrete.entropy(logits), golden["entropy"], 1e-5)
    assert_close(
        soften(golden["buffer_onehot"], low, high, jnp.array(True)), golden["buffer_clipped"], 1e-5
    )
    taken = golden["buffer_onehot"].argmax(-1)
    assert_close(discrete.soft_one_hot(taken, logits), golden["buffer_clipped"], 1e-5)


def test_tanh_gaussian():
    golden = load("dist_tanh_gaussian")
    distribution = TanhGaussian(golden.meta["d_action"])
    assert distribution.parameter_count == golden.meta["input_dimension"]
    params = golden["params"]
    assert_close(distribution.log_density(params, golden["actions"]), golden["log_prob"], 1e-5)
    assert_close(distribution.mode(params), golden["mode"], 1e-5)


def test_beta():
    golden = load("dist_beta")
    distribution = Beta(golden.meta["d_action"])
    assert distribution.parameter_count == golden.meta["input_dimension"]
    params = golden["params"]
    assert_close(distribution.log_density(params, golden["actions"]), golden["log_prob"], 1e-5)
    assert_close(distribution.mode(params), golden["mode"], 1e-5)


def test_tanh_mixture():
    golden = load("dist_gmm")
    actions, count = golden.meta["d_action"], golden.meta["input_dimension"]
    distribution = TanhMixture(actions, modes=count // (2 * actions + 1))
    assert distribution.parameter_count == count
    params = golden["params"]
    log_prob = distribution.log_prob(params, golden["actions"])[..., None]
    assert_close(log_prob, golden["log_prob"], 1e-5)
    assert_close(distribution.mode(params), golden["mode"], 1e-5)


def test_multi_binary():
    golden = load("dist_multibinary")
    distribution = MultiBinary(golden.meta["d_action"])
    assert distribution.parameter_count == golden.meta["input_dimension"]
    params = golden["params"]
    assert_close(distribution.log_density(params, golden["actions"]), golden["log_prob"], 1e-5)
    assert_close(jax.nn.sigmoid(params), golden["probs"], 1e-5)
    assert_close(distribution.mode(params), golden["probs"] > 0.5, 0.0)
