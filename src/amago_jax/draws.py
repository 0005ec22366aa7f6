"""Many small random draws by one program, with the bits that each would have had by itself.

Threefry is a loop, which is compiled anew wherever it is called: for the initial weights once for
every weight's key, and once more for its numbers, and that is most of what there is to compile.
But it computes every number from its key and its place alone, so those of all weights can be
computed side by side.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun
from jax.extend.random import threefry2x32_p

Result = TypeVar("Result")

CALL, FOLD_IN, BITS = "jit", "random_fold_in", "random_bits"  # names of primitives
USUAL = "key<fry>[]"  # the type of one key of JAX's usual generator
# Numbers of one draw up to which it is made with others, which takes 24 bytes each for a while:
# where weights are many, that should not be what memory is needed for.
MANY = 2**18


def draw_together(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that does as ``function``, and draws at once what it can.

    Args:
        function: of arrays and pytrees of arrays, random keys among them. What it draws inside of
            loops and branches is left as it is, and so is what it draws by another generator than
            JAX's usual one.

    Returns:
        A function of the same arguments, to be traced; its random bits are the same.
    """

    @functools.wraps(function)
    def together(*arguments: Any) -> Result:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        inputs = [_Value(True, x) for x in jax.tree.leaves(arguments)]
        steps: list[_Step] = []
        results = _inline(closed, inputs, steps)
        _evaluate(steps)
        return jax.tree.unflatten(jax.tree.structure(shapes), [found.array for found in results])

    return together


@dataclasses.dataclass
class _Value:
    """What a variable of a program stands for, once it is known."""

    known: bool = False
    array: Any = None


@dataclasses.dataclass
class _Step:
    """An equation of a program, with its own variables' values."""

    equation: JaxprEqn
    inputs: list[_Value]
    outputs: list[_Value]

    @property
    def ready(self) -> bool:
        return all(value.known for value in self.inputs)

    @property
    def arrays(self) -> list[Any]:
        return [value.array for value in self.inputs]

    def draws(self, name: str) -> bool:
        """Whether this is a draw, ``name``, that can be made with others."""
        equation = self.equation
        if equation.primitive.name != name or str(equation.invars[0].aval) != USUAL:
            return False
        params = equation.params
        return name == FOLD_IN or (params["bit_width"] == 32 and math.prod(params["shape"]) <= MANY)

    def finish(self, arrays: list[Any]) -> None:
        for value, array in zip(self.outputs, arrays, strict=True):
            value.known, value.array = True, array


def _inline(program: Any, inputs: list[_Value], steps: list[_Step]) -> list[_Value]:
    """Add a program's equations to ``steps``, those of what it calls too; return its results."""
    jaxpr: Jaxpr = program.jaxpr
    values = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {var: _Value(True, x) for var, x in zip(jaxpr.constvars, program.consts, strict=True)}

    def value(atom: Any) -> _Value:
        return _Value(True, atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        arguments = [value(atom) for atom in equation.invars]
        if equation.primitive.name == CALL:
            outputs = _inline(equation.params["jaxpr"], arguments, steps)
        else:
            outputs = [_Value() for _ in equation.outvars]
            steps.append(_Step(equation, arguments, outputs))
        values.update(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _evaluate(steps: list[_Step]) -> None:
    """Take all steps: draws wait for all that can be done first, and numbers for keys."""
    together = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    while steps:
        later: list[_Step] = []
        draws: dict[str, list[_Step]] = {FOLD_IN: [], BITS: []}
        for step in steps:
            name = next((name for name in draws if together and step.draws(name)), None)
            if not step.ready:
                later.append(step)
            elif name is None:
                step.finish(_run(step))
            else:
                draws[name].append(step)
        if draws[FOLD_IN]:
            _fold_in(draws[FOLD_IN])
            later += draws[BITS]
        elif draws[BITS]:
            _draw(draws[BITS])
        steps = later


def _run(step: _Step) -> list[Any]:
    """Return what an equation comes to."""
    equation = step.equation
    own = {
        var: array
        for var, array in zip(equation.invars, step.arrays, strict=True)
        if not isinstance(var, Literal)
    }
    # Alone, as a program: how primitives are to be called differs between versions of JAX.
    outputs, info = list(equation.outvars), DebugInfo("jit", __name__, None, None)
    jaxpr = Jaxpr([], list(own), outputs, [equation], equation.effects, info)
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))(*own.values())


def _fold_in(steps: list[_Step]) -> None:
    """Make keys of keys and numbers."""
    keys, numbers = zip(*(step.arrays for step in steps), strict=True)
    made = jax.vmap(jax.random.fold_in)(jnp.stack(keys), jnp.stack(numbers))
    for i, step in enumerate(steps):
        step.finish([made[i]])


def _draw(steps: list[_Step]) -> None:
    """Draw bits ``uint32`` of several shapes."""
    shapes = [step.equation.params["shape"] for step in steps]
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes)], dtype=np.int32)
    keys = jax.random.key_data(jnp.stack([step.arrays[0] for step in steps]))
    bits = _bits(keys, starts)
    for step, shape, i, j in zip(steps, shapes, starts[:-1], starts[1:], strict=True):
        step.finish([bits[i:j].reshape(shape)])


def _bits(keys: Array, starts: np.ndarray) -> Array:
    """Draw from keys ``[N, 2]`` the bits that lie from ``starts[i]`` to ``starts[i + 1]``."""
    place = jnp.arange(starts[-1], dtype=jnp.int32)
    row = jnp.searchsorted(starts[1:], place, side="right")
    own = (place - jnp.asarray(starts)[row]).astype(jnp.uint32)
    high, low = threefry2x32_p.bind(keys[row, 0], keys[row, 1], jnp.zeros_like(own), own)
    return high ^ low
