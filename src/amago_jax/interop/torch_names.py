"""How the arrays of an `AgentState` are named and laid out in the authors' PyTorch state dict.

Every leaf of ours has one entry there: `torch_entry` gives its name and its two layouts. Only of
running statistics, we keep the variance where the original keeps the mean of squares: these are
exchanged first, see `amago_jax.agents.moments_of_squares`. The frozen critic copy of the original
("maximized_critics") always equals its critics and has no leaf.

Source: the authors' implementation, version 3.3.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.agents.moments_of_squares import (
    shapes_with_squares,
    with_squares,
    with_variances,
)
from amago_jax.errors import InteropError

Path = tuple[str, ...]
NAMED = 5  # entries an error names before it counts


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array is laid out there and here, each made from the other."""

    from_torch: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class TorchEntry:
    """One entry of a PyTorch state dict.

    Attributes:
        name: its key.
        layout: of its array.
    """

    name: str
    layout: Layout


SAME = Layout(lambda x: x, lambda x: x)
TRANSPOSED = Layout(np.transpose, np.transpose)
SCALAR = Layout(lambda x: x.reshape(()), lambda x: x.reshape(1))
COLUMN = Layout(lambda x: x[:, 0], lambda x: x[:, None])
HEADS = Layout(lambda x: x[0, 0, :, 0], lambda x: x[None, None, :, None])
ENSEMBLE_BIAS = Layout(lambda x: x[0, 0], lambda x: x[None, None])
# One count serves all discounts here; there, each has its own, and all are equal.
COUNTS = Layout(lambda x: np.unique(x).reshape(()), lambda x: x.reshape(1, 1))

MODULES = {
    ("params", "timestep_encoder"): "tstep_encoder.",
    ("statistics", "timestep_encoder"): "tstep_encoder.",
    ("params", "trajectory_encoder"): "traj_encoder.",
    ("statistics", "trajectory_encoder"): "traj_encoder.",
    ("params", "actor"): "actor.",
    ("params", "critics"): "critics.net.",
    ("target_params", "actor"): "target_actor.",
    ("target_params", "critics"): "target_critics.net.",
}
COPIED = {"critics.": "maximized_critics."}
NORMS = {
    "attention_norm": "norm1",
    "attended_norm": "norm2",
    "feedforward_norm": "norm3",
    "hidden_norm": "norm4",
}
LINEARS = {
    "qkv": "attention_layer.qkv_projection",
    "out": "attention_layer.out_projection",
    "expand": "ff1",
    "contract": "ff2",
}
# Of a layer norm, and of a rmsnorm; other normalizations learn nothing.
NORM_LEAVES = {"scale": "weight", "bias": "bias", "rms_scale": "scale"}
NEVER_NEGATIVE = (".nu", "._t")  # means of squares, and counts
MOMENTS = {
    ("moments", "mean"): "mu",
    ("moments", "mean_of_squares"): "nu",
    ("moments", "steps"): "_t",
    ("scale",): "w",
    ("shift",): "b",
}


def load_state(like: Any, weights: Mapping[str, np.ndarray], heads: int) -> Any:
    """Fill a tree shaped like an `AgentState`, or a part of it, from a PyTorch state dict.

    Args:
        like: the tree to fill; gives structure and shapes.
        weights: arrays by PyTorch name; entries that the tree does not need are ignored.
        heads: H, attention heads of the trajectory encoder.

    Returns:
        A tree like ``like``.

    Raises:
        InteropError: if entries are missing, of the wrong shape or kind, not finite, or out of
            range.
    """
    like = shapes_with_squares(like)
    leaves, structure = jax.tree.flatten(like)
    entries = _entries(like, heads)
    missing = [entry.name for entry in entries if entry.name not in weights]
    if missing:
        raise InteropError(f"the state dict has no {_listed(missing)}")

    def fill(entry: TorchEntry, leaf: Any) -> jax.Array:
        found = np.asarray(weights[entry.name])
        try:
            array = entry.layout.from_torch(found)
        except (ValueError, IndexError):
            array = found
        if array.shape != leaf.shape:
            raise InteropError(
                f"entry {entry.name!r} has shape {found.shape}, which gives {array.shape} "
                f"where the agent has {leaf.shape}"
            )
        # `jnp.asarray` would compile a program for every shape.
        return jax.device_put(_numbers(entry.name, array, leaf.dtype))

    filled = [fill(entry, leaf) for entry, leaf in zip(entries, leaves, strict=True)]
    return with_variances(jax.tree.unflatten(structure, filled))


def _numbers(name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return an entry's numbers in the agent's dtype.

    Raises:
        InteropError: if they are of another kind, not finite, or out of range.
    """
    counts = name.endswith(NEVER_NEGATIVE)
    real = jnp.issubdtype(array.dtype, jnp.floating)
    if not (real or (counts and jnp.issubdtype(array.dtype, jnp.integer))):
        raise InteropError(f"entry {name!r} is of dtype {array.dtype}, not of real numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.asarray(array, dtype)
        whole = np.asarray(array, np.float64)
    if not np.isfinite(whole).all():
        raise InteropError(f"entry {name!r} holds NaN or infinity")
    fits = np.allclose(np.asarray(numbers, np.float64), whole, rtol=1e-2, atol=1e-30)
    if not fits or (counts and (whole < 0).any()):
        at = np.abs(whole).max() if not fits else whole.min()
        raise InteropError(f"entry {name!r} holds {at:g}, which is out of range")
    return numbers


def from_state_dict(like: Any, weights: Mapping[str, np.ndarray], heads: int) -> Any:
    """Fill a whole `AgentState`; unlike `load_state`, leave no entry over.

    Raises:
        InteropError: if entries are missing, left over or of the wrong shape.
    """
    state = load_state(like, weights, heads)
    known = {entry.name for entry in _entries(shapes_with_squares(like), heads)}
    known |= {name for _, name in _copies(known)}
    left_over = [name for name in weights if name not in known]
    if left_over:
        raise InteropError(f"the agent has no place for {_listed(left_over)}")
    return state


def to_state_dict(state: Any, heads: int) -> dict[str, np.ndarray]:
    """Lay a whole `AgentState` out as the original does, copies of critics included.

    Raises:
        InteropError: if the original has no such module.
    """
    state = with_squares(state)
    entries = _entries(state, heads)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    weights = {
        entry.name: entry.layout.to_torch(leaf) for entry, leaf in zip(entries, leaves, strict=True)
    }
    weights["popart._t"] = np.full_like(weights["popart.mu"], state.popart.moments.steps)
    copies = {copy: weights[name] for name, copy in _copies(weights)}
    return weights | copies


def _entries(tree: Any, heads: int) -> list[TorchEntry]:
    """Return the entry of every leaf, in the order of `jax.tree.leaves`."""
    paths = [
        tuple(_key(part) for part in path)
        for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]
    memory = _memory_kind(paths)
    return [torch_entry(path, heads, memory) for path in paths]


def _memory_kind(paths: Iterable[Path]) -> str:
    """Tell the trajectory encoders apart by their modules."""
    modules = {path[2] for path in paths if path[1:2] == ("trajectory_encoder",)}
    for prefix, kind in (("cells_", "gru"), ("expand_", "feedforward")):
        if any(module.startswith(prefix) for module in modules):
            return kind
    return "transformer"


def torch_entry(path: Path, heads: int, memory: str = "transformer") -> TorchEntry:
    """Return the PyTorch entry of one of our leaves.

    Args:
        path: the leaf's keys from the root of an `AgentState` with `MomentsOfSquares`.
        heads: H, attention heads of the trajectory encoder.
        memory: which trajectory encoder it is: "transformer", "gru" or "feedforward".

    Raises:
        InteropError: if the authors' implementation has no such array.
    """
    if path[0] == "popart":
        layout = COUNTS if path[-1] == "steps" else COLUMN
        return TorchEntry(f"popart.{MOMENTS[path[1:]]}", layout)
    name = "/".join(path)
    try:
        prefix, rest = MODULES[path[0], path[1]], path[2:]
        if path[1] == "critics":
            return _ensemble_entry(prefix, rest)
        if path[1] == "trajectory_encoder":
            return MEMORIES[memory](prefix, rest, heads)
        return _mlp_entry(prefix, rest)
    except (KeyError, IndexError, ValueError) as error:
        raise InteropError(f"the original has no array like {name}") from error


def _ensemble_entry(prefix: str, rest: Path) -> TorchEntry:
    _, layer, leaf = rest
    name = prefix + _layer_name(layer, "inp_layer", "core_layers", "output_layer")
    if leaf == "bias":
        return TorchEntry(f"{name}.bias", ENSEMBLE_BIAS)
    return TorchEntry(f"{name}.weight", SAME)


def _mlp_entry(prefix: str, rest: Path) -> TorchEntry:
    if rest[0] == "input_normalization":
        leaf = MOMENTS[rest[1:]]
        return TorchEntry(f"{prefix}in_norm.{leaf}", SCALAR if leaf == "_t" else SAME)
    if rest[0] == "output_norm":
        return _norm_entry(f"{prefix}out_norm", rest[-1])
    if rest[0] != "mlp":
        raise KeyError(rest[0])
    name = _layer_name(rest[1], "in_layer", "layers", "out_layer")
    return _linear_entry(f"{prefix}base.{name}", rest[-1])


def _transformer_entry(prefix: str, rest: Path, heads: int) -> TorchEntry:
    prefix = f"{prefix}tformer."
    first, leaf = rest[0], rest[-1]
    if first == "input":
        return _linear_entry(f"{prefix}inp", leaf)
    if first == "output_norm":
        return _norm_entry(f"{prefix}norm", leaf)
    if first == "positions":
        return TorchEntry(f"{prefix}position_embedding.embeddings.weight", SAME)
    if not first.startswith("blocks_"):
        raise KeyError(first)
    block = f"{prefix}layers.{first.removeprefix('blocks_')}."
    if leaf == "head_scale":
        return TorchEntry(f"{block}attention_layer.head_scaler", HEADS)
    part = rest[1] if rest[1] != "attention" else rest[2]
    if part in NORMS:
        return _norm_entry(block + NORMS[part], leaf)
    name = block + LINEARS[part]
    if leaf == "gamma":
        return TorchEntry(f"{name}.gamma", SCALAR)
    if part == "qkv" and leaf in ("kernel", "u"):
        torch_leaf = "weight" if leaf == "kernel" else "u"
        return TorchEntry(f"{name}.{torch_leaf}", _heads_slowest(heads))
    if leaf in ("u", "v"):
        return TorchEntry(f"{name}.{leaf}", SAME)
    return _linear_entry(name, leaf)


def _gru_entry(prefix: str, rest: Path, heads: int) -> TorchEntry:
    first, leaf = rest[0], rest[-1]
    if first == "output":
        return _linear_entry(f"{prefix}out", leaf)
    if first == "output_norm":
        return _norm_entry(f"{prefix}out_norm", leaf)
    layer = first.removeprefix("cells_")
    side = "ih" if rest[1] == "input" else "hh"
    if leaf.endswith("kernel"):
        return TorchEntry(f"{prefix}rnn.weight_{side}_l{layer}", TRANSPOSED)
    return TorchEntry(f"{prefix}rnn.bias_{side}_l{layer}", SAME)


def _feedforward_entry(prefix: str, rest: Path, heads: int) -> TorchEntry:
    first, leaf = rest[0], rest[-1]
    if first == "output_norm":
        return _norm_entry(f"{prefix}out_norm", leaf)
    ends = {"input": "traj_emb", "output": "traj_last"}
    if first in ends:
        return _linear_entry(prefix + ends[first], leaf)
    part, _, layer = first.partition("_")
    return _linear_entry(f"{prefix}traj_blocks.{layer}.{LINEARS[part]}", leaf)


MEMORIES: dict[str, Callable[[str, Path, int], TorchEntry]] = {
    "transformer": _transformer_entry,
    "gru": _gru_entry,
    "feedforward": _feedforward_entry,
}


def _linear_entry(name: str, leaf: str) -> TorchEntry:
    if leaf == "kernel":
        return TorchEntry(f"{name}.weight", TRANSPOSED)
    return TorchEntry(f"{name}.bias", SAME)


def _norm_entry(name: str, leaf: str) -> TorchEntry:
    return TorchEntry(f"{name}.norm.{NORM_LEAVES[leaf]}", SAME)


def _layer_name(layer: str, first: str, middle: str, last: str) -> str:
    if layer == "output":
        return last
    index = int(layer.removeprefix("hidden_"))
    return first if index == 0 else f"{middle}.{index - 1}"


def _heads_slowest(heads: int) -> Layout:
    """PyTorch's rows run over (q k v, width per head, head); ours over (q k v, head, width)."""

    def from_torch(x: np.ndarray) -> np.ndarray:
        split = x.reshape(3, -1, heads, *x.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(x.shape).T

    def to_torch(x: np.ndarray) -> np.ndarray:
        rows = x.T
        split = rows.reshape(3, heads, -1, *rows.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(rows.shape)

    return Layout(from_torch, to_torch)


def _copies(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the entries that the original holds twice, each with its other name."""
    return [
        (name, copy + name.removeprefix(original))
        for name in names
        for original, copy in COPIED.items()
        if name.startswith(original)
    ]


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:NAMED]))
    rest = len(names) - NAMED
    return (
        f"entry {shown}"
        if len(names) == 1
        else f"entries {shown}" + (f" and {rest} more" if rest > 0 else "")
    )


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", part)))
