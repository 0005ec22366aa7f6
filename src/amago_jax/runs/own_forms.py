"""What parts of one's own must be and return, found out as a run is built, part by part.

The networks are traced together as well, but what JAX then says names neither the part nor the
setting that chose it. So a part that is none of this package's is first traced by itself, on the
shapes it will meet; an error inside it is told with its place.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from amago_jax.agents import Agent
from amago_jax.agents.extra_losses import checked_term
from amago_jax.envs import StreamEnv
from amago_jax.envs.checks import named
from amago_jax.errors import ConfigError, config_errors, first_line
from amago_jax.types import Batch

ROWS, SAMPLES = 2, 3  # B and K of what is traced

# By group: what describes its parts, and what they must have.
NEEDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "distribution": (
        "amago_jax.models.distributions.Distribution",
        (
            "kind",
            "reparametrized",
            "actions",
            "parameter_count",
            "log_prob",
            "entropy",
            "draw_noise",
            "sample_vector",
            "sample",
            "mode",
        ),
    ),
    "advantage_filter": (
        "amago_jax.losses.advantage_filters.AdvantageFilter",
        ("uses_advantage", "__call__"),
    ),
    "exploration": ("amago_jax.acting.exploration.Schedule", ("randomize", "epsilon")),
    "timestep_encoder": (
        "amago_jax.models.timestep_encoders.TimestepEncoder",
        ("init_with_output", "apply", "__call__", "dtype"),
    ),
    "trajectory_encoder": (
        "amago_jax.models.trajectory_encoder.TrajectoryEncoder",
        (
            "init_with_output",
            "apply",
            "__call__",
            "dtype",
            "initial_memory",
            "decode",
            "for_acting",
            "for_whole_episodes",
            "with_attention",
            "check_times",
            "choose_attention",
        ),
    ),
}


def check_members(group: str, target: str, part: Any) -> None:
    """Check that a part of one's own has what is asked of it.

    Args:
        group: of conf/.
        target: the part's ``_target_``.
        part: what that made.

    Raises:
        ConfigError: naming what it lacks.
    """
    described, members = NEEDED.get(group, ("", ()))
    with named(group, target, part):
        missing = [name for name in members if not hasattr(part, name)]
    if missing:
        raise ConfigError(
            f"{group}: {target} makes a {type(part).__name__} without {', '.join(missing)}, "
            f"which {described} describes"
        )


@contextlib.contextmanager
def fitting(env: StreamEnv) -> Iterator[None]:
    """Say of what environment it is that networks do not fit it.

    Raises:
        ConfigError: instead of any ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"the agent does not fit {env.name!r}: {first_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class _Forms:
    """The parts of an agent on the shapes that they meet.

    Attributes:
        agent: whose parts they are.
        env: whose observations they are of.
        own: ``_target_`` by group, of parts of one's own.
        length: W, timesteps of a window.
    """

    agent: Agent
    env: StreamEnv
    own: dict[str, str]
    length: int

    def windows(self) -> Batch:
        """Return the shapes of a batch ``[B, W, ...]``."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), ROWS))
        rows = jax.eval_shape(jax.vmap(self.env.reset), keys).timestep
        whole = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((ROWS, self.length, *x.shape[1:]), x.dtype), rows
        )
        return Batch(whole, _ints(ROWS, self.length))

    def trace(self, group: str, what: str, part: Any, function: Callable, *arguments: Any) -> Any:
        """Return shapes of what a function of a part returns; of ours, errors name the agent."""
        theirs = group in self.own
        place = named(group, f"{self.own[group]}{what}", part) if theirs else fitting(self.env)
        with place:
            return jax.eval_shape(function, *arguments)

    def want(
        self, group: str, what: str, found: Any, shape: tuple[int | None, ...], words: str
    ) -> Any:
        """Return the shape of what a part of one's own returned, if it is numbers of that shape.

        Args:
            group: of the part.
            what: the function, behind the part's name.
            found: shapes of what it returned.
            shape: what they must be; None: anything.
            words: says what that is.

        Raises:
            ConfigError: if it is another.
        """
        fits = isinstance(found, jax.ShapeDtypeStruct) and len(found.shape) == len(shape)
        fits = fits and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if group in self.own and not fits:
            sizes = ", ".join("width" if size is None else str(size) for size in shape)
            raise ConfigError(
                f"{group}: {self.own[group]}{what} returns {_kinds(found)}, but must return "
                f"{words}, [{sizes}] here"
            )
        return found

    def check_distribution(self) -> None:
        """Trace what a distribution does for acting and for learning."""
        group, one = "distribution", self.agent.distribution
        gammas, actions = len(self.agent.gammas), self.agent.action_size
        shape = (ROWS, self.length, gammas)
        params = _floats(*shape, one.parameter_count)
        rows = _floats(ROWS, one.parameter_count)
        discrete = self.agent.discrete
        acted = (ROWS,) if discrete else (ROWS, actions)
        words = "an action for every row"
        for what, function in (
            (".mode", one.mode),
            (".sample", lambda params: one.sample(params, jax.random.key(0))),
        ):
            self.want(group, what, self.trace(group, what, one, function, rows), acted, words)
        done = _ints(*shape) if discrete else _floats(*shape[:2], 1, actions)
        found = self.trace(group, ".log_prob", one, one.log_prob, params, done)
        self.want(group, ".log_prob", found, shape, "a number for every action")
        noise = None
        if not self.agent.exact_expectations:
            drawn = (SAMPLES, *shape)
            noise = self.trace(
                group, ".draw_noise", one, lambda: one.draw_noise(jax.random.key(0), drawn)
            )
            found = self.trace(group, ".sample_vector", one, one.sample_vector, params, noise)
            words = "a vector of every action drawn, one-hot if they are discrete"
            self.want(group, ".sample_vector", found, (*drawn, actions), words)
        found = self.trace(group, ".entropy", one, one.entropy, params, noise)
        self.want(group, ".entropy", found, shape, "a number for every distribution")

    def check_filter(self) -> None:
        """Trace an advantage filter."""
        group, one = "advantage_filter", self.agent.advantage_filter
        shape = (ROWS, self.length, len(self.agent.gammas))
        found = self.trace(group, "", one, one, _floats(*shape))
        self.want(group, "", found, shape, "a weight for every advantage")

    def encode_timesteps(self, batch: Batch) -> Any:
        """Return shapes of encoded windows, ``[B, W, E]``; of one's own, acting is traced too."""
        group, one = "timestep_encoder", self.agent.timestep_encoder
        timesteps = batch.timesteps
        rl2 = jax.eval_shape(self.agent.rl2, timesteps)
        seen = (timesteps.observation, rl2, _flags(ROWS, self.length))
        found, variables = self.trace(group, "", one, one.init_with_output, _key(), *seen)
        shape = (ROWS, self.length, None)
        self.want(group, "", found, shape, "a vector for every timestep of the windows")
        if group in self.own:
            self._learn(group, "", one, found.shape, variables, *seen)
            now = jax.tree.map(_first, seen)
            acting = self.trace(group, "", one, one.apply, _held(variables), *now)
            row = (ROWS, found.shape[-1])
            self.want(group, "", acting, row, "a vector for every row where it acts")
        return found

    def remember(self, encoded: Any) -> Any:
        """Return shapes of states, ``[B, W, D]``; of a memory of one's own, it decodes as well."""
        group, one = "trajectory_encoder", self.agent.trajectory_encoder
        # A recurrence has one, and counts timesteps for it.
        what = ".unroll" if hasattr(one, "unroll") else ""
        time = _ints(ROWS, self.length)
        found = self.trace(group, what, one, one.init_with_output, _key(), encoded, time, time)
        states, variables = found
        shape = (ROWS, self.length, None)
        self.want(group, what, states, shape, "a state for every timestep of the windows")
        if group in self.own:
            self._learn(group, what, one, states.shape, variables, encoded, time, time)
            self._decode(encoded, states.shape[-1], variables)
        return states

    def _learn(
        self, group: str, what: str, one: Any, shape: Any, variables: Any, *seen: Any
    ) -> None:
        """Trace an encoder of one's own as learning calls it, on what it saw as it was made."""
        alone = one.clone(axis_name=None) if getattr(one, "axis_name", None) else one

        def learn(held: Any, key: Any, *seen: Any) -> Any:
            rngs = {"dropout": key, "augmentation": key}
            return alone.apply(held, *seen, training=True, mutable=["statistics"], rngs=rngs)

        found, _ = self.trace(group, what, one, learn, _held(variables), _key(), *seen)
        self.want(group, what, found, shape, "with training=True what it returns without")

    def _decode(self, encoded: Any, width: int, variables: Any) -> None:
        group, one = "trajectory_encoder", self.agent.trajectory_encoder
        memory = self.trace(group, ".initial_memory", one, lambda: one.initial_memory(ROWS))

        def decode(variables: Any, *arguments: Any) -> Any:
            encoder, params = one.for_acting(variables["params"], variables["statistics"])
            held = {**variables, "params": params}
            return encoder.apply(held, *arguments, method="decode")

        seen = (_first(encoded), _ints(ROWS), _flags(ROWS), memory)
        found = self.trace(group, ".decode", one, decode, _held(variables), *seen)
        called = f"{group}: {self.own[group]}.decode"
        if not isinstance(found, tuple) or len(found) != 2:
            raise ConfigError(
                f"{called} returns {_kinds(found)}, but must return states and the memory after"
            )
        words = "a state for every row, as wide as those of windows"
        self.want(group, ".decode", found[0], (ROWS, width), words)
        if _kinds(found[1]) != _kinds(memory):
            raise ConfigError(
                f"{called} is handed the memory {_kinds(memory)} and returns {_kinds(found[1])}: "
                "it must be of the same structure, shapes and dtypes, for every step hands it on"
            )

    def check_terms(self, states: Any, batch: Batch) -> None:
        """Trace terms of the loss on states ``[B, W, D]``."""
        for term in self.agent.extra_losses:
            group = f"extra_losses.{term.name}"
            if group in self.own:
                rngs = {"params": _key(), "dropout": _key()}
                start = term.module.init_with_output
                found, _ = self.trace(group, "", term.module, start, rngs, states, batch)
                mask = jax.eval_shape(lambda batch: batch.transition_mask, batch)
                with config_errors():
                    checked_term(term, found, mask)


@functools.lru_cache(maxsize=8)
def check_forms(agent: Agent, env: StreamEnv, own: frozenset[tuple[str, str]], length: int) -> None:
    """Trace an agent's parts of one's own, each by itself.

    Args:
        agent: whose parts they are.
        env: whose observations they meet.
        own: (group, ``_target_``) of each; terms of the loss as ``extra_losses.<name>``.
        length: W, timesteps of a window.

    Raises:
        ConfigError: naming the setting, the class, and what it did or should return.
    """
    forms = _Forms(agent, env, dict(own), length)
    if "distribution" in forms.own:
        forms.check_distribution()
    if "advantage_filter" in forms.own:
        forms.check_filter()
    if any(group.endswith("_encoder") or "." in group for group in forms.own):
        batch = forms.windows()
        states = forms.remember(forms.encode_timesteps(batch))
        forms.check_terms(states, batch)


def _held(variables: Any) -> dict[str, Any]:
    """Return what an agent keeps of a module's variables."""
    return {name: variables.get(name, {}) for name in ("params", "statistics")}


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _floats(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _ints(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def _flags(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.bool_)


def _first(windows: Any) -> Any:
    """Return the shape of the first timesteps of windows ``[B, W, ...]``."""
    return jax.ShapeDtypeStruct((windows.shape[0], *windows.shape[2:]), windows.dtype)


def _kinds(tree: Any) -> str:
    """Say of what shapes and dtypes a tree is."""
    told = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)
    return str(told).replace("'", "")
