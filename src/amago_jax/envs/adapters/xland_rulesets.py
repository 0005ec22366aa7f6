"""Rulesets of XLand-MiniGrid: a goal, the rules that make what it takes, and what lies about.

The suite's wheel holds no generator, and its benchmark files come from the network; so this is one
of our own, after the procedure and the sizes of theirs. Files of theirs are loaded from disk.

Source: Nikulin et al. 2023, "XLand-MiniGrid" (arXiv 2312.12044), section 4 and appendix;
Adaptive Agent Team 2023, "Human-Timescale Adaptation" (arXiv 2301.07608), appendix A.2.
"""

import bz2
import dataclasses
import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from xminigrid.benchmarks import Benchmark
from xminigrid.core.constants import Colors, Tiles

from amago_jax.kinds import OneOf
from amago_jax.settings import checked

Tile = tuple[int, int]  # an object and its colour

# The encodings of the suite: a kind, then the tiles it is about.
HOLD_RULE, AGENT_NEAR_RULE, NEAR_RULE = 1, 2, 3
HOLD_GOAL, AGENT_NEAR_GOAL, NEAR_GOAL = 1, 3, 4
RULE_LENGTH, GOAL_LENGTH = 7, 5

_COLORS = (
    Colors.RED,
    Colors.GREEN,
    Colors.BLUE,
    Colors.PURPLE,
    Colors.YELLOW,
    Colors.GREY,
    Colors.WHITE,
)
PICKABLE: tuple[Tile, ...] = tuple(
    product((Tiles.BALL, Tiles.SQUARE, Tiles.PYRAMID, Tiles.KEY), _COLORS)
)
# A goal tile can be stood beside, but not be carried.
PLACED: tuple[Tile, ...] = (*PICKABLE, *product((Tiles.GOAL,), _COLORS))
NOTHING: Tile = (Tiles.FLOOR, Colors.BLACK)  # what a rule makes that makes things disappear

_TRIES = 20  # draws per ruleset before there seem to be too few different ones


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How rulesets are drawn.

    Attributes:
        depth: rules behind each other, from what lies about to what the goal takes.
        stop: probability that a tile needed lies about instead of being made.
        rules: most distractor rules, which lead nowhere.
        objects: distractor objects.
    """

    depth: int
    stop: float
    rules: int
    objects: int


# The suite's own benchmarks.
DIFFICULTIES = {
    "trivial": Difficulty(depth=0, stop=0.0, rules=0, objects=3),
    "small": Difficulty(depth=1, stop=0.3, rules=2, objects=2),
    "medium": Difficulty(depth=2, stop=0.1, rules=3, objects=2),
    "high": Difficulty(depth=3, stop=0.1, rules=4, objects=1),
}
DifficultyName = Annotated[str, OneOf(tuple(DIFFICULTIES))]


@dataclasses.dataclass(frozen=True)
class DrawnRuleset:
    """A ruleset in plain Python: encodings of a goal and of rules, and tiles; see `Benchmark`."""

    goal: tuple[int, ...]
    rules: tuple[tuple[int, ...], ...]
    tiles: tuple[Tile, ...]
    depth: int


def draw_ruleset(rng: np.random.Generator, difficulty: Difficulty) -> DrawnRuleset:
    """Draw a goal, backwards from it the rules that lead there, and distractors.

    No tile is used twice on the way, so no rule destroys what another one needs; distractor rules
    may, and lead into dead ends. As with the suite's own rulesets, a few (about 1%) cannot be
    solved, where walking up to a tile of the goal changes it.
    """

    def choose(tiles: tuple[Tile, ...], without: set[Tile]) -> Tile:
        left = [tile for tile in tiles if tile not in without]
        return left[rng.integers(len(left))]

    def inputs(kinds: tuple[int, int, int], without: set[Tile]) -> tuple[int, list[Tile]]:
        """Draw a kind, hold, stand beside or put together, and what to do it with."""
        kind = kinds[rng.integers(3)]
        first = choose(PICKABLE if kind == kinds[0] else PLACED, without)
        if kind != kinds[2]:
            return kind, [first]
        # The second one can be carried to the first, and is another one. Which one is named first
        # makes no difference, so that there is one way to write it.
        return kind, sorted([first, choose(PICKABLE, without | {first})])

    kind, needed = inputs((HOLD_GOAL, AGENT_NEAR_GOAL, NEAR_GOAL), set())
    goal = _encode(kind, needed, GOAL_LENGTH)
    used, about, rules = set(needed), [], []
    for _ in range(difficulty.depth):
        made, needed = needed, []
        for tile in made:
            if rng.random() < difficulty.stop:
                about.append(tile)
                continue
            kind, tiles = inputs((HOLD_RULE, AGENT_NEAR_RULE, NEAR_RULE), used)
            rules.append(_encode(kind, [*tiles, tile], RULE_LENGTH))
            used.update(tiles)
            needed += tiles
    about += needed
    depth = difficulty.depth if rules else 0
    about += [choose(PLACED, used) for _ in range(difficulty.objects)]
    for _ in range(rng.integers(difficulty.rules + 1)):
        kind, tiles = inputs((HOLD_RULE, AGENT_NEAR_RULE, NEAR_RULE), set())
        rules.append(_encode(kind, [*tiles, choose((*PICKABLE, NOTHING), used)], RULE_LENGTH))
        about += tiles
    return DrawnRuleset(goal, tuple(rules), tuple(about), depth)


@checked
def generate_rulesets(difficulty: DifficultyName, count: int, seed: int) -> Benchmark:
    """Draw rulesets, no two with the same goal and rules.

    Args:
        difficulty: one of `DIFFICULTIES`.
        count: N, of rulesets.
        seed: draws the same ones again.

    Returns:
        Arrays of the suite's own class: goals uint8 ``[N, 5]``, rules ``[N, R, 7]`` and tiles
        ``[N, T, 2]``, padded with zeros, and num_rules ``[N]``, how deep a ruleset is.

    Raises:
        ValueError: if there is no such difficulty, or there are not so many rulesets.
    """
    rng = np.random.default_rng(seed)
    found: dict[object, DrawnRuleset] = {}
    for _ in range(_TRIES * count):
        ruleset = draw_ruleset(rng, DIFFICULTIES[difficulty])
        found.setdefault((ruleset.goal, tuple(sorted(ruleset.rules))), ruleset)
        if len(found) == count:
            break
    else:
        raise ValueError(
            f"count={count!r}: there seem to be only {len(found)} different {difficulty} rulesets"
        )
    drawn = list(found.values())
    return Benchmark(
        goals=jnp.array([ruleset.goal for ruleset in drawn], jnp.uint8),
        rules=_pad([ruleset.rules for ruleset in drawn], RULE_LENGTH),
        init_tiles=_pad([ruleset.tiles for ruleset in drawn], 2),
        num_rules=jnp.array([ruleset.depth for ruleset in drawn], jnp.uint8),
    )


def load_rulesets(path: str) -> Benchmark:
    """Load a benchmark file of the suite from disk, one of those with the same goal and rules.

    Of the trivial benchmarks, which have no rules, that leaves about a thousand rulesets.

    Such files are pickles, which could have anything called; this reads arrays from them alone.

    Args:
        path: for example of a downloaded "small_1m_v3".

    Raises:
        ValueError: if there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise ValueError(f"rulesets={path!r} is no file")
    try:
        with bz2.open(path, "rb") as file:
            found = _ArraysOnly(file).load()
        rulesets = Benchmark(
            **{name: found[name] for name in ("goals", "rules", "init_tiles", "num_rules")}
        )
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(
            f"rulesets={path!r} is no benchmark of XLand-MiniGrid, a bz2 pickle with goals, "
            f"rules, init_tiles and num_rules ({type(error).__name__}: {error})"
        ) from error
    _, first = np.unique(ruleset_numbers(rulesets), axis=0, return_index=True)
    return select(rulesets, np.sort(first))


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can make arrays of numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        kind = (module.replace("numpy._core.", "numpy.core."), name)
        if kind in ARRAYS:
            return ARRAYS[kind]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no array needs")


def _of_jax(make: Callable[..., np.ndarray], arguments: Any, state: Any, *_: Any) -> np.ndarray:
    """Make a NumPy array of what JAX pickles of its own."""
    array = make(*arguments)
    array.__setstate__(state)
    return array


def _of_buffer(buffer: bytes, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _empty(kind: type, shape: Any, code: bytes) -> np.ndarray:
    return np.ndarray.__new__(np.ndarray, shape, code.decode())


ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.numeric", "_frombuffer"): _of_buffer,
    ("jax._src.array", "_reconstruct_array"): _of_jax,
}


def ruleset_numbers(rulesets: Benchmark) -> np.ndarray:
    """Return what tells rulesets apart, int64 ``[N, 1+R]``.

    That is the goal and the rules in any order, and of two tiles to be put together either first.
    """

    def number(codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.int64) @ 256 ** np.arange(codes.shape[-1], dtype=np.int64)

    def numbers(array: jnp.ndarray, near: int) -> np.ndarray:
        codes = np.asarray(array)
        swapped = codes.copy()
        swapped[..., 1:3], swapped[..., 3:5] = codes[..., 3:5], codes[..., 1:3]
        either = np.minimum(number(codes), number(swapped))
        return np.where(codes[..., 0] == near, either, number(codes))

    goals = numbers(rulesets.goals, NEAR_GOAL)
    return np.column_stack([goals, np.sort(numbers(rulesets.rules, NEAR_RULE), axis=1)])


def split_rulesets(rulesets: Benchmark, test_share: float, seed: int) -> dict[str, Benchmark]:
    """Return "train" and "test" rulesets, at random, of which none is in both."""
    order = np.random.default_rng(seed).permutation(len(rulesets.goals))
    tests = round(test_share * len(order))
    return {"train": select(rulesets, order[tests:]), "test": select(rulesets, order[:tests])}


def select(rulesets: Benchmark, places: np.ndarray) -> Benchmark:
    """Return the rulesets at ``places [M]``."""
    return Benchmark(
        goals=jnp.asarray(rulesets.goals)[places],
        rules=jnp.asarray(rulesets.rules)[places],
        init_tiles=jnp.asarray(rulesets.init_tiles)[places],
        num_rules=jnp.asarray(rulesets.num_rules)[places],
    )


def save_rulesets(rulesets: Benchmark, path: str) -> None:
    """Save rulesets as the suite does, to be loaded by it or by `load_rulesets`."""
    arrays = {
        "goals": rulesets.goals,
        "rules": rulesets.rules,
        "init_tiles": rulesets.init_tiles,
        "num_rules": rulesets.num_rules,
    }
    with bz2.open(path, "wb") as file:
        pickle.dump({name: np.asarray(array) for name, array in arrays.items()}, file)


def _encode(kind: int, tiles: list[Tile], length: int) -> tuple[int, ...]:
    code = [kind, *(number for tile in tiles for number in tile)]
    return tuple(code + [0] * (length - len(code)))


def _pad(rows: list[tuple[tuple[int, ...], ...]], width: int) -> jnp.ndarray:
    """Stack rows of codes, all as long as the longest, uint8 ``[N, longest, width]``."""
    padded = np.zeros((len(rows), max(1, *map(len, rows)), width), np.uint8)
    for row, codes in zip(padded, rows, strict=True):
        row[: len(codes)] = np.array(codes).reshape(-1, width)
    return jnp.asarray(padded)
