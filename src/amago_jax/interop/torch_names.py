"""How the arrays of an `AgentState` are named and laid out in the authors' PyTorch state dict.

Every leaf of ours has one entry there: `torch_entry` gives its name and the change of layout. The
frozen critic copy of the original ("maximized_critics") always equals its critics and has no leaf.

Source: the authors' implementation, version 3.3.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Layout = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class TorchEntry:
    """One entry of a PyTorch state dict.

    Attributes:
        name: its key.
        from_torch: its array in our layout.
    """

    name: str
    from_torch: Layout


MODULES = {
    ("params", "timestep_encoder"): "tstep_encoder.",
    ("statistics", "timestep_encoder"): "tstep_encoder.",
    ("params", "trajectory_encoder"): "traj_encoder.tformer.",
    ("statistics", "trajectory_encoder"): "traj_encoder.tformer.",
    ("params", "actor"): "actor.",
    ("params", "critics"): "critics.net.",
    ("target_params", "actor"): "target_actor.",
    ("target_params", "critics"): "target_critics.net.",
}
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
POPART = {
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
        weights: arrays by PyTorch name.
        heads: H, attention heads of the trajectory encoder.

    Returns:
        A tree like ``like``.

    Raises:
        ValueError: if an entry is missing or of the wrong shape.
    """

    def fill(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        entry = torch_entry(tuple(_key(part) for part in path), heads)
        if entry.name not in weights:
            raise ValueError(f"the state dict has no entry {entry.name!r}")
        array = entry.from_torch(np.asarray(weights[entry.name]))
        if array.shape != leaf.shape:
            raise ValueError(
                f"entry {entry.name!r} has shape {np.shape(weights[entry.name])}, which gives "
                f"{array.shape} where the agent has {leaf.shape}"
            )
        return jnp.asarray(array, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, like)


def torch_entry(path: tuple[str, ...], heads: int) -> TorchEntry:
    """Return the PyTorch entry of one of our leaves.

    Args:
        path: the leaf's keys from the root of an `AgentState`.
        heads: H, attention heads of the trajectory encoder.

    Raises:
        ValueError: if the authors' implementation has no such array.
    """
    if path[0] == "popart":
        shape = _scalar if path[-1] == "steps" else np.ravel
        return TorchEntry(f"popart.{POPART[path[1:]]}", shape)
    prefix = MODULES.get((path[0], path[1]))
    rest = path[2:]
    if prefix is None or not rest:
        raise ValueError(f"no PyTorch entry for {'/'.join(path)}")
    if path[1] == "critics":
        return _ensemble_entry(prefix, rest)
    if path[1] == "trajectory_encoder":
        return _transformer_entry(prefix, rest, heads)
    return _mlp_entry(prefix, rest)


def _ensemble_entry(prefix: str, rest: tuple[str, ...]) -> TorchEntry:
    _, layer, leaf = rest
    name = prefix + _layer_name(layer, "inp_layer", "core_layers", "output_layer")
    if leaf == "bias":
        return TorchEntry(f"{name}.bias", lambda x: x.reshape(x.shape[-2:]))
    return TorchEntry(f"{name}.weight", _same)


def _mlp_entry(prefix: str, rest: tuple[str, ...]) -> TorchEntry:
    if rest[0] == "input_normalization":
        leaf = POPART[rest[1:]]
        return TorchEntry(f"{prefix}in_norm.{leaf}", _scalar if leaf == "_t" else _same)
    if rest[0] == "output_norm":
        return _norm_entry(f"{prefix}out_norm", rest[-1])
    name = _layer_name(rest[1], "in_layer", "layers", "out_layer")
    return _linear_entry(f"{prefix}base.{name}", rest[-1])


def _transformer_entry(prefix: str, rest: tuple[str, ...], heads: int) -> TorchEntry:
    first, leaf = rest[0], rest[-1]
    if first == "input":
        return _linear_entry(f"{prefix}inp", leaf)
    if first == "output_norm":
        return _norm_entry(f"{prefix}norm", leaf)
    if first == "positions":
        return TorchEntry(f"{prefix}position_embedding.embeddings.weight", _same)
    block = f"{prefix}layers.{first.removeprefix('blocks_')}."
    if leaf == "head_scale":
        return TorchEntry(f"{block}attention_layer.head_scaler", np.ravel)
    part = rest[1] if rest[1] != "attention" else rest[2]
    if part in NORMS:
        return _norm_entry(block + NORMS[part], leaf)
    name = block + LINEARS[part]
    if leaf == "gamma":
        return TorchEntry(f"{name}.gamma", _scalar)
    if part == "qkv" and leaf in ("kernel", "u"):
        torch_leaf = "weight" if leaf == "kernel" else "u"
        return TorchEntry(f"{name}.{torch_leaf}", lambda x: _heads_slowest(x, heads).T)
    if leaf in ("u", "v"):
        return TorchEntry(f"{name}.{leaf}", _same)
    return _linear_entry(name, leaf)


def _linear_entry(name: str, leaf: str) -> TorchEntry:
    if leaf == "kernel":
        return TorchEntry(f"{name}.weight", np.transpose)
    return TorchEntry(f"{name}.bias", _same)


def _norm_entry(name: str, leaf: str) -> TorchEntry:
    return TorchEntry(f"{name}.norm.{'weight' if leaf == 'scale' else 'bias'}", _same)


def _layer_name(layer: str, first: str, middle: str, last: str) -> str:
    if layer == "output":
        return last
    index = int(layer.removeprefix("hidden_"))
    return first if index == 0 else f"{middle}.{index - 1}"


def _heads_slowest(x: np.ndarray, heads: int) -> np.ndarray:
    # PyTorch's rows run over (q k v, width per head, head); ours over (q k v, head, width).
    split = x.reshape(3, -1, heads, *x.shape[1:])
    return np.swapaxes(split, 1, 2).reshape(x.shape)


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _scalar(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1)[0]


def _key(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", part)))
