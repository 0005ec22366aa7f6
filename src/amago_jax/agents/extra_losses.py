"""Terms that are added to the loss: their weights, and what they come to on a batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.losses.actor_critic import masked_mean
from amago_jax.models.extra_loss import ExtraLoss
from amago_jax.models.precision import at_least_float32
from amago_jax.settings import NotNegative, check_fields
from amago_jax.tunable import tunable
from amago_jax.types import Array, Batch, Metrics, Params, Timestep

TERMS = "extra_losses"  # their weights by name, among an agent's
# Folded into keys of which other parts fold in, or split off, smaller numbers.
INIT, DRAWS = 4, 2
TAKEN = ("total", "actor", "critic")  # metrics under loss/ that are there already


@tunable("coefficient")
@dataclasses.dataclass(frozen=True)
class Term:
    """A term of the loss.

    Attributes:
        name: its loss is logged as ``loss/<name>``.
        module: an `ExtraLoss`; it is given states and a batch.
        coefficient: its weight in the total loss.

    Raises:
        ValueError: if the name is that of another loss, the module is none of a term, or the
            coefficient is out of range.
    """

    name: str
    module: Any
    coefficient: NotNegative = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        if not isinstance(self.module, ExtraLoss):
            raise ValueError(
                f"extra_losses.{self.name} is of a {type(self.module).__name__}, no term of the "
                "loss: derive it from amago_jax.models.extra_loss.ExtraLoss"
            )
        if self.name in TAKEN:
            raise ValueError(
                f"extra_losses.{self.name}: loss/{self.name} is a metric already; choose a name "
                f"other than {', '.join(TAKEN)}"
            )


@struct.dataclass
class Measured:
    """What terms come to on a batch.

    Attributes:
        losses: float32 ``[]`` by name, means over the transitions, not weighted (a device's share
            of them, if the batch is split).
        columns: what else they watch, ``[B, L]`` by the name of its metric.
    """

    losses: Metrics
    columns: Metrics


def init_terms(
    terms: Sequence[Term], key: Array, states: Array, timestep: Timestep
) -> dict[str, Params]:
    """Create the weights of terms, by name.

    Args:
        terms: with names of their own.
        key: that of all the agent's weights.
        states: example states ``[B, 1, D]``.
        timestep: an example, leaves ``[B, ...]``; only shapes and dtypes matter.

    Raises:
        ValueError: if what a term returns is not what `ExtraLoss` says.
    """
    key = jax.random.fold_in(key, INIT)
    batch = Batch(
        jax.tree.map(lambda x: jnp.stack([x, x], axis=1), timestep),
        jnp.ones((len(states), 2), jnp.int32),
    )
    pair = jnp.concatenate([states, states], axis=1)
    params = {}
    for index, term in enumerate(terms):
        key_term = jax.random.fold_in(key, index)
        found, variables = term.module.init_with_output(key_term, pair, batch)
        checked_term(term, found, batch.transition_mask)
        params[term.name] = variables.get("params", {})
    return params


def measure_terms(
    terms: Sequence[Term],
    params: Params,
    states: Array,
    batch: Batch,
    dropout: Array,
    axis_name: str | None,
) -> Measured:
    """Return what terms come to on a batch.

    Args:
        terms: as they were initialized.
        params: all of the agent's weights, by module.
        states: ``[B, L+1, D]``.
        batch: windows of L+1 timesteps.
        dropout: the key of what the encoders draw, from which terms have their own.
        axis_name: see `masked_mean`.
    """
    losses: Metrics = {}
    columns: Metrics = {}
    for index, term in enumerate(terms):
        key = jax.random.fold_in(jax.random.fold_in(dropout, DRAWS), index)
        variables = {"params": params[TERMS][term.name]}
        found = term.module.apply(variables, states, batch, rngs={"dropout": key})
        loss, watched = checked_term(term, found, batch.transition_mask)
        losses[term.name] = masked_mean(at_least_float32(loss), batch.transition_mask, axis_name)
        columns |= {f"loss/{term.name}/{name}": at_least_float32(x) for name, x in watched.items()}
    return Measured(losses, columns)


def checked_term(term: Term, found: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
    """Return a term's losses and what it watches, if both are one number a transition.

    Args:
        term: whose they are.
        found: what it returned, or shapes of that.
        mask: `Batch.transition_mask`, or its shape.

    Raises:
        ValueError: if they are not.
    """
    called = f"extra_losses.{term.name}"
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        what = "no dictionary" if isinstance(found, tuple) else _words(found)
        raise ValueError(
            f"{called} must return losses [B, L] and a dictionary of what else is watched, which "
            f"may be empty, not {what}"
        )
    loss, watched = found
    rows, length = mask.shape
    for name, x in {"its loss": loss, **watched}.items():
        if not hasattr(x, "shape") or x.shape != mask.shape:
            raise ValueError(
                f"{called}: {name} is {_words(x)}, but must be an array [B, L], a number for every "
                f"transition: [{rows}, {length}] for {rows} windows of {length + 1} timesteps, "
                f"between which there are {length} transitions"
            )
    return loss, watched


def _words(found: Any) -> str:
    if hasattr(found, "shape"):
        return f"an array {list(found.shape)}"
    return f"a {type(found).__name__}"
