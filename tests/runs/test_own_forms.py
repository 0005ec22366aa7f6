"""What a part of one's own does wrong is told as the run is built: the setting, the class, what."""

import dataclasses

import jax.numpy as jnp
import pytest
from flax import linen as nn

import amago_jax
from amago_jax import envs
from amago_jax.errors import ConfigError
from amago_jax.models.distributions import Discrete
from amago_jax.models.extra_loss import ExtraLoss
from amago_jax.models.timestep_encoders import TimestepEncoder
from amago_jax.models.trajectory_encoder import RecurrentEncoder
from amago_jax.runs.own_forms import check_forms
from small_agents import small_agent
from tiny_runs import LEAST

ENV = envs.make("tmaze/passive", corridor_length=4)
LENGTH = 7


class Encoder(TimestepEncoder):
    wrong: str = "nothing"

    def __call__(self, observation, rl2, mask, training=False):
        if self.wrong == "raises":
            raise KeyError("no such key")
        return {"nothing": rl2, "scalar": rl2.sum(), "rank": rl2[..., None]}[self.wrong]


class NeverLearns(TimestepEncoder):
    def __call__(self, observation, rl2, mask):
        return rl2


class Memory(RecurrentEncoder):
    wrong: str = "nothing"

    def unroll(self, x, positions):
        if self.wrong == "unroll raises":
            raise RuntimeError("out of tune")
        return x[:, 0] if self.wrong == "unroll" else x

    def initial_memory(self, batch_size):
        return {"sum": jnp.zeros((batch_size, 3))}

    def decode(self, x, time, is_first, memory):
        wrong = {
            "structure": (memory["sum"],),
            "shape": {"sum": memory["sum"][:, :2]},
            "dtype": {"sum": memory["sum"].astype(jnp.int32)},
        }
        if self.wrong == "no memory":
            return x
        return x[:, :1] if self.wrong == "width" else x, wrong.get(self.wrong, memory)


@dataclasses.dataclass(frozen=True)
class Mean(Discrete):
    wrong: str = "nothing"

    def log_prob(self, params, actions):
        found = super().log_prob(params, actions)
        return found[..., None] if self.wrong == "log_prob" else found

    def mode(self, params):
        return params if self.wrong == "mode" else super().mode(params)


@dataclasses.dataclass(frozen=True)
class Filter:
    uses_advantage = True
    wrong: str = "nothing"

    def __call__(self, advantage):
        return 1 / 0 if self.wrong == "raises" else advantage.mean()


class Forecast(ExtraLoss):
    wrong: str = "nothing"

    @nn.compact
    def __call__(self, states, batch):
        losses = jnp.square(states[:, 1:]).mean(-1)
        return {
            "nothing": (losses, {}),
            "shape": (losses.mean(), {}),
            "watched": (losses, {"share": 0.5}),
            "alone": losses,
        }[self.wrong]


def agent_with(**parts):
    agent = small_agent(actions=ENV.action_space.size, trajectory_encoder=Memory())
    return dataclasses.replace(agent, **parts)


@pytest.mark.parametrize(
    ("group", "part", "words"),
    [
        ("timestep_encoder", Encoder(wrong="raises"), "raised KeyError.*test_own_forms.py, line"),
        ("timestep_encoder", Encoder(wrong="scalar"), r"returns float32\[\], but.*\[2, 7, width\]"),
        ("timestep_encoder", Encoder(wrong="rank"), "a vector for every timestep"),
        ("timestep_encoder", NeverLearns(), "raised TypeError: .*'training'"),
        ("trajectory_encoder", Memory(wrong="unroll raises"), r"\.unroll raised RuntimeError: out"),
        ("trajectory_encoder", Memory(wrong="unroll"), r"\.unroll returns .* a state for every"),
        ("trajectory_encoder", Memory(wrong="structure"), "the same structure"),
        ("trajectory_encoder", Memory(wrong="shape"), r"\[2, 3\]. and returns .*\[2, 2\]"),
        ("trajectory_encoder", Memory(wrong="dtype"), r"\[2, 3\]. and returns {sum: int32"),
        ("trajectory_encoder", Memory(wrong="width"), r"\.decode returns .*as wide as"),
        ("trajectory_encoder", Memory(wrong="no memory"), "states and the memory after"),
        ("advantage_filter", Filter("raises"), "raised ZeroDivisionError"),
        ("advantage_filter", Filter(), "a weight for every advantage"),
    ],
)
def test_what_is_wrong_is_told_of_the_part(group, part, words):
    own = frozenset({(group, f"tally.{type(part).__name__}")})
    with pytest.raises(ConfigError, match=rf"^{group}: tally\.\w+.*{words}") as found:
        check_forms(agent_with(**{group: part}), ENV, own, LENGTH)
    assert "raised" not in words or found.value.__cause__ is not None


@pytest.mark.parametrize("wrong", ["log_prob", "mode"])
def test_what_is_wrong_is_told_of_a_distribution(wrong):
    own = frozenset({("distribution", "tally.Mean")})
    mean = Mean(ENV.action_space.size, wrong=wrong)
    with pytest.raises(ConfigError, match=rf"^distribution: tally\.Mean\.{wrong} returns"):
        check_forms(agent_with(distribution=mean), ENV, own, LENGTH)


def test_parts_that_are_right_pass():
    parts = {
        "distribution": Mean(ENV.action_space.size),
        "timestep_encoder": Encoder(),
        "trajectory_encoder": Memory(),
    }
    own = frozenset((group, f"tally.{type(part).__name__}") for group, part in parts.items())
    check_forms(agent_with(**parts), ENV, own, LENGTH)


OWN = f"{__name__}."


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["trajectory_encoder._target_=builtins.dict"], "makes a dict without .*initial_memory"),
        (
            [f"timestep_encoder._target_={OWN}Encoder", "++timestep_encoder.wrong=raises"],
            "timestep_encoder: .*Encoder raised KeyError",
        ),
        (
            [f"extra_losses.f._target_={OWN}Forecast", "extra_losses.f.wrong=shape"],
            r"its loss is an array \[\], but .*a number for every transition: \[2, \d\d?\] for 2",
        ),
        (
            [f"extra_losses.f._target_={OWN}Forecast", "extra_losses.f.wrong=watched"],
            r"share is an array \[\], but must be an array \[B, L\]",
        ),
        (
            [f"extra_losses.f._target_={OWN}Forecast", "extra_losses.f.wrong=alone"],
            "must return losses.* not an array",
        ),
        (
            [f"extra_losses.f._target_={OWN}Forecast", "extra_losses.f.coeficient=2"],
            "did you mean coefficient",
        ),
    ],
)
def test_it_is_told_before_anything_compiles(items, words):
    small = [item for item in LEAST if not item.startswith(items[0].partition(".")[0])]
    with pytest.raises(ConfigError, match=words):
        amago_jax.make_run([*small, *items])
