"""Distributions against scipy: log-probabilities, modes, moments of samples; masks; gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.attention import MASKED
from amago_jax.models.distributions import (
    DISTRIBUTIONS,
    Beta,
    Discrete,
    MultiBinary,
    TanhGaussian,
    TanhMixture,
    make_distribution,
)

ACTIONS, SAMPLES = 3, 20_000
SEEDS = st.integers(0, 2**31 - 1)
VECTOR = [TanhGaussian(ACTIONS), Beta(ACTIONS), TanhMixture(ACTIONS, 4), MultiBinary(ACTIONS)]


def params_of(distribution, seed, *leading):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*leading, distribution.parameter_count)).astype(np.float32)


def inside(seed, *leading):
    return np.random.default_rng(seed).uniform(-0.95, 0.95, (*leading, ACTIONS)).astype(np.float32)


def squash_slope(actions):
    """log |d tanh(x)/dx| where tanh(x) is the action."""
    return np.log1p(-np.square(actions.astype(np.float64)))


@pytest.mark.parametrize(
    ("actions", "kept"), [(2, 0.999), (50, 0.952), (51, 0.952), (625, 0.952), (4096, 0.952)]
)
def test_a_certain_policy_keeps_its_action_out_of_many(actions, kept):
    distribution = Discrete(actions)
    assert distribution.least == (0.001 if actions <= 50 else 0.05 / actions)
    certain = 1e3 * jax.nn.one_hot(1, actions)
    for found in (
        distribution.probabilities(certain),
        distribution.soft_one_hot(jnp.array(1), certain),
    ):
        assert found[1] == pytest.approx(kept, abs=1e-3)
        assert found.min() > 0


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_discrete_is_the_clipped_categorical(seed):
    distribution = Discrete(5)
    logits = 4.0 * params_of(distribution, seed, 7)
    actions = np.random.default_rng(seed).integers(0, 5, 7)
    probs = np.clip(scipy.special.softmax(logits, -1), 0.001, 0.99)
    probs /= probs.sum(-1, keepdims=True)
    found = [distribution.log_prob(logits, actions), distribution.entropy(logits)]
    wanted = [
        np.log(probs[np.arange(7), actions]),
        [scipy.stats.entropy(row) for row in probs],
    ]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(distribution.mode(logits), logits.argmax(-1))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_tanh_gaussian_is_the_squashed_normal(seed):
    distribution = TanhGaussian(ACTIONS)
    params, actions = params_of(distribution, seed, 6), inside(seed, 6)
    mean, raw = np.split(params.astype(np.float64), 2, -1)
    std = np.exp(-5.0 + 3.5 * (np.tanh(raw) + 1.0))
    normal = scipy.stats.norm.logpdf(np.arctanh(actions.astype(np.float64)), mean, std)
    wanted = normal - squash_slope(actions)
    np.testing.assert_allclose(
        distribution.log_density(params, actions), wanted, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(distribution.mode(params), np.tanh(mean), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_beta_is_scipys_stretched(seed):
    distribution = Beta(ACTIONS)
    params, actions = params_of(distribution, seed, 6), inside(seed, 6)
    alpha, beta = np.split(np.log1p(np.exp(params.astype(np.float64))) + 1.0001, 2, -1)
    scipys = scipy.stats.beta(alpha, beta, loc=-1.0, scale=2.0)
    np.testing.assert_allclose(
        distribution.log_density(params, actions), scipys.logpdf(actions), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(distribution.mode(params), scipys.mean(), atol=1e-5)
    np.testing.assert_allclose(
        distribution.entropy(params), scipys.entropy().sum(-1), rtol=1e-3, atol=1e-3
    )


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_tanh_mixture_is_the_weighted_sum_of_densities(seed):
    distribution = TanhMixture(ACTIONS, 4)
    params, actions = params_of(distribution, seed, 6), inside(seed, 6)
    split = np.split(params.astype(np.float64), [12, 24], -1)
    means, stds = (part.reshape(6, 4, ACTIONS) for part in split[:2])
    stds = np.log1p(np.exp(stds)) + 1e-4
    weights = scipy.special.softmax(split[2], -1)
    pre_tanh = np.arctanh(actions.astype(np.float64))[:, None]
    density = (weights * scipy.stats.norm.pdf(pre_tanh, means, stds).prod(-1)).sum(-1)
    wanted = np.log(density) - squash_slope(actions).sum(-1)
    np.testing.assert_allclose(distribution.log_prob(params, actions), wanted, rtol=1e-3, atol=1e-3)
    mixture_mean = (weights[..., None] * means).sum(-2)
    np.testing.assert_allclose(distribution.mode(params), np.tanh(mixture_mean), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_multi_binary_is_scipys_bernoulli(seed):
    distribution = MultiBinary(ACTIONS)
    params = params_of(distribution, seed, 6)
    flips = np.random.default_rng(seed).integers(0, 2, (6, ACTIONS)).astype(np.float32)
    scipys = scipy.stats.bernoulli(scipy.special.expit(params.astype(np.float64)))
    np.testing.assert_allclose(
        distribution.log_density(params, flips), scipys.logpmf(flips.astype(int)), rtol=1e-4
    )
    np.testing.assert_allclose(distribution.entropy(params), scipys.entropy().sum(-1), rtol=1e-4)
    np.testing.assert_array_equal(distribution.mode(params), params > 0)


@pytest.mark.parametrize("distribution", VECTOR, ids=lambda d: type(d).__name__)
def test_samples_have_the_moments_of_the_density(distribution):
    """Means of x and x² under the density, by importance weights of uniform points."""
    params = params_of(distribution, 0)
    noise = distribution.draw_noise(jax.random.key(1), (SAMPLES,))
    samples = np.asarray(
        distribution.sample_vector(jnp.broadcast_to(params, (SAMPLES, *params.shape)), noise)
    )
    assert samples.shape == (SAMPLES, ACTIONS)
    rng = np.random.default_rng(2)
    if distribution.kind == "binary":
        points = np.stack(np.meshgrid(*[[0.0, 1.0]] * ACTIONS), -1).reshape(-1, ACTIONS)
        weights = np.exp(distribution.log_prob(params, points))
        np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-4)
    else:
        # Uniform before the squashing, so that the mass near the ends is met as well.
        pre_tanh = rng.uniform(-6, 6, (20 * SAMPLES, ACTIONS))
        points = np.tanh(pre_tanh)
        log_weights = np.asarray(distribution.log_prob(params, points.astype(np.float32)))
        weights = np.exp(log_weights + squash_slope(points).sum(-1)) * 12.0**ACTIONS / len(points)
        assert abs(weights.sum() - 1.0) < 0.15
    for power in (1, 2):
        wanted = (weights[:, None] * points**power).sum(0) / weights.sum()
        np.testing.assert_allclose((samples**power).mean(0), wanted, atol=0.06)


def test_discrete_samples_have_the_probabilities():
    distribution = Discrete(4)
    logits = params_of(distribution, 0)
    probs = np.asarray(distribution.probabilities(logits))
    rows = jnp.broadcast_to(logits, (SAMPLES, 4))
    drawn = distribution.sample(rows, jax.random.key(0))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / SAMPLES, probs, atol=0.015)
    noise = distribution.draw_noise(jax.random.key(1), (SAMPLES,))
    vectors = np.asarray(distribution.sample_vector(rows, noise))
    np.testing.assert_allclose(vectors.mean(0), probs, atol=0.015)
    np.testing.assert_allclose(
        np.sort(vectors, -1), np.tile([0.0, 0, 0, 1], (SAMPLES, 1)), atol=1e-6
    )


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gradients_flow_exactly_if_reparametrized(name):
    distribution = DISTRIBUTIONS[name](ACTIONS)
    params = params_of(distribution, 3, 5)
    noise = distribution.draw_noise(jax.random.key(0), (5,))
    grads = jax.jit(jax.grad(lambda p: (distribution.sample_vector(p, noise) ** 2).sum()))(params)
    assert np.isfinite(grads).all()
    assert bool(np.abs(grads).max() > 0) == distribution.reparametrized


@pytest.mark.parametrize("distribution", [TanhGaussian(1), Beta(1)], ids=["tanh_gaussian", "beta"])
def test_gradients_of_samples_are_gradients_of_the_mean(distribution):
    """The mean gradient of a sample is the gradient of the distribution's mean."""
    params = params_of(distribution, 4)
    noise = distribution.draw_noise(jax.random.key(0), (SAMPLES,))

    def sample_mean(p):
        return distribution.sample_vector(jnp.broadcast_to(p, (SAMPLES, *p.shape)), noise).mean()

    grid = np.tanh(np.linspace(-9, 9, 20_001)).astype(np.float32)[:, None]

    def exact_mean(p):
        density = jnp.exp(distribution.log_prob(p, grid))
        return jnp.trapezoid(density * grid[:, 0], grid[:, 0])

    found, wanted = (jax.jit(jax.grad(mean))(params) for mean in (sample_mean, exact_mean))
    np.testing.assert_allclose(found, wanted, atol=0.03)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_masked_actions_are_never_taken(seed):
    distribution = Discrete(5)
    rng = np.random.default_rng(seed)
    legal = rng.random(5) < 0.5
    legal[rng.integers(5)] = True
    logits = jnp.where(legal, 3.0 * params_of(distribution, seed), MASKED)
    probs = np.asarray(distribution.probabilities(logits))
    assert (probs[~legal] == 0).all()
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-5)
    rows = jnp.broadcast_to(logits, (200, 5))
    assert legal[np.asarray(distribution.sample(rows, jax.random.key(seed % 1000)))].all()
    assert legal[int(distribution.mode(logits))]
    noise = distribution.draw_noise(jax.random.key(0), (200,))
    assert legal[np.asarray(distribution.sample_vector(rows, noise)).argmax(-1)].all()
    grads = jax.grad(lambda x: distribution.log_prob(x, jnp.arange(5)).sum())(
        jnp.broadcast_to(logits, (5, 5))
    )
    assert np.isfinite(grads).all()
    assert np.isfinite(distribution.entropy(logits))
    taken = distribution.soft_one_hot(jnp.flatnonzero(legal, size=1)[0], logits)
    assert (np.asarray(taken)[~legal] == 0).all()
    np.testing.assert_allclose(taken.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("mean", [0.3, 4.0, 8.0])
@pytest.mark.parametrize("raw_std", [-0.9, 0.5])
@pytest.mark.parametrize("distribution", [TanhGaussian(1), TanhMixture(1, 2)], ids=["one", "mix"])
def test_entropies_are_integrals_even_where_tanh_saturates(distribution, mean, raw_std):
    """-∫ p log p in one dimension, taken before squashing."""
    x = np.linspace(mean - 30, mean + 30, 200_001)
    if isinstance(distribution, TanhGaussian):
        params = np.array([mean, raw_std], np.float32)
        density = scipy.stats.norm.pdf(x, mean, np.exp(-5 + 3.5 * (np.tanh(raw_std) + 1)))
    else:
        params = np.array([mean, -mean / 2, raw_std, raw_std, 0.2, -0.2], np.float32)
        std = np.log1p(np.exp(raw_std)) + 1e-4
        weights = scipy.special.softmax([0.2, -0.2])
        density = weights @ [scipy.stats.norm.pdf(x, m, std) for m in (mean, -mean / 2)]
    log_slope = 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    integrand = density * (log_slope - np.log(np.maximum(density, 1e-300)))
    wanted = scipy.integrate.trapezoid(integrand, x)
    noise = distribution.draw_noise(jax.random.key(0), (100_000,))
    assert float(distribution.entropy(params, noise)) == pytest.approx(wanted, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(mean=st.floats(-5, 5), seed=SEEDS)
def test_actions_near_the_ends_are_scored_where_they_are_if_the_limit_is_there(mean, seed):
    """A ratio of two policies' probabilities is that of their normals, however far out."""
    exact = TanhGaussian(1, action_limit=0.999999)
    noise = exact.draw_noise(jax.random.key(seed), (50,))
    drawn, other = np.float32([mean, -0.6]), np.float32([mean + 0.1, -0.5])
    actions = exact.sample_vector(drawn, noise)
    std, wanted = np.asarray(exact.mean_and_std(drawn)[1]), []
    pre_tanh = mean + np.asarray(noise) * std
    for params in (drawn, other):
        center, std = exact.mean_and_std(params)
        density = scipy.stats.norm.logpdf(pre_tanh, np.asarray(center), np.asarray(std))
        wanted.append(density[:, 0])
    ratios = exact.log_prob(other, actions) - exact.log_prob(drawn, actions)
    np.testing.assert_allclose(ratios, wanted[1] - wanted[0], atol=0.1)
    if abs(mean) > 4:
        clipped = TanhGaussian(1)
        off = clipped.log_prob(other, actions) - clipped.log_prob(drawn, actions)
        assert np.abs(off - (wanted[1] - wanted[0])).max() > 0.5


def test_settings_of_a_kind_of_actions_are_for_it_alone():
    settings = {"discrete": {"clip_low": 1e-6, "clip_high": 1.0}, "actions": 3}
    settings |= {"tanh_gaussian": {"action_limit": 0.999}}
    assert make_distribution("natural", kind="discrete", **settings) == Discrete(3, 1e-6, 1.0)
    gaussian = make_distribution("natural", kind="continuous", **settings)
    assert gaussian == TanhGaussian(3, action_limit=0.999)
    assert make_distribution("beta", kind="continuous", **settings) == Beta(3)


def test_wrong_choices_are_named():
    with pytest.raises(ValueError, match="name='gauss' must be one of"):
        make_distribution("gauss", actions=2, kind="continuous")
    with pytest.raises(ValueError, match=r"beta is over continuous actions, .* choose discrete"):
        make_distribution("beta", actions=2, kind="discrete")
