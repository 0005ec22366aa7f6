"""Action distributions against the authors' numbers."""

from amago_jax.models.distributions import Discrete, TanhGaussian, soften
from golden_files import assert_close, load


def test_discrete():
    golden = load("dist_discrete")
    low, high = golden.meta["clip_prob_low"], golden.meta["clip_prob_high"]
    logits, actions = golden["logits"], golden["actions"]
    discrete = Discrete(logits.shape[-1], low, high)
    assert_close(discrete.probabilities(logits), golden["probs"], 1e-5)
    assert_close(discrete.log_prob(logits, actions), golden["log_prob"], 1e-5)
    assert_close(discrete.entropy(logits), golden["entropy"], 1e-5)
    assert_close(soften(golden["buffer_onehot"], low, high), golden["buffer_clipped"], 1e-5)
    taken = golden["buffer_onehot"].argmax(-1)
    assert_close(discrete.soft_one_hot(taken), golden["buffer_clipped"], 1e-5)


def test_tanh_gaussian():
    golden = load("dist_tanh_gaussian")
    distribution = TanhGaussian(golden.meta["d_action"])
    assert distribution.parameter_count == golden.meta["input_dimension"]
    params = golden["params"]
    assert_close(distribution.log_prob(params, golden["actions"]), golden["log_prob"], 1e-5)
    assert_close(distribution.mode(params), golden["mode"], 1e-5)
