"""A term of the loss, for tests."""

import jax.numpy as jnp
from flax import linen as nn

from amago_jax.agents.extra_losses import Term
from amago_jax.models.extra_loss import ExtraLoss
from amago_jax.settings import Size


class Forecast(ExtraLoss):
    """Tell the next reward from the state."""

    hidden_size: Size = 4

    @nn.compact
    def __call__(self, states, batch):
        hidden = jnp.tanh(nn.Dense(self.hidden_size)(states[:, :-1]))
        error = nn.Dense(1)(hidden)[..., 0] - batch.timesteps.previous_reward[:, 1:]
        return jnp.square(error), {"error": jnp.abs(error)}


class OfTimesteps(ExtraLoss):
    """One number too many."""

    def __call__(self, states, batch):
        return states.mean(-1), {}


class Bare(ExtraLoss):
    """No dictionary."""

    def __call__(self, states, batch):
        return states[:, :-1].mean(-1)


FORECAST = Term("forecast", Forecast(), 0.5)
EXTRA = [
    "extra_losses.forecast._target_=own_terms.Forecast",
    "extra_losses.forecast.coefficient=0.5",
]
