"""The authors' PyTorch checkpoints, read into an `AgentState` and written from one.

The suffix of a file tells its format: ``.safetensors``, or PyTorch's own zip archive. Neither
needs PyTorch, and neither runs anything that a file contains.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from amago_jax.agents import Agent, AgentState
from amago_jax.errors import InteropError
from amago_jax.interop.torch_names import from_state_dict, to_state_dict
from amago_jax.interop.torch_zip import read_torch_zip, write_torch_zip

NAMED = 5
WRAPPED = "_orig_mod"  # what a compiled module is called within its wrapper


def load_torch(path: str | Path, agent: Agent, like: AgentState) -> AgentState:
    """Read an agent's weights, targets and statistics.

    Of a model that `torch.compile` wrapped, in whole or in part, names are taken as they were
    before, see `without_wrappers`.

    Args:
        path: a ``.safetensors`` file, or one that `torch.save` wrote of a state dict.
        agent: the agent the weights are for, with the original's sizes.
        like: gives structure and shapes, from `Agent.init` or `jax.eval_shape` of it.

    Returns:
        The state.

    Raises:
        InteropError: if the file cannot be read, or an entry is missing, left over or misshapen.
    """
    return from_state_dict(like, without_wrappers(read_state_dict(path)), _heads(agent))


def without_wrappers(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name arrays as the model does, without what `torch.compile` puts into their names.

    A compiled module is the submodule ``_orig_mod`` of a wrapper, wherever in the model it stands.

    Raises:
        InteropError: if two arrays would have one name.
    """
    found: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        plain = ".".join(part for part in name.split(".") if part != WRAPPED)
        if plain in found:
            raise InteropError(
                f"the state dict has entry {plain!r} twice, of a compiled model and of one that is "
                "not: save the state dict of one of them"
            )
        found[plain] = array
    return found


def save_torch(path: str | Path, agent: Agent, state: AgentState) -> None:
    """Write an agent's weights, targets and statistics under the original's names.

    Args:
        path: ends in ``.safetensors``, or in anything else for PyTorch's own format.
        agent: the agent.
        state: its arrays.

    Raises:
        InteropError: if the original has no such module, or the file cannot be written.
    """
    write_state_dict(path, to_state_dict(state, _heads(agent)))


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read arrays by name.

    Raises:
        InteropError: if there is no such file, it is damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InteropError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (SafetensorError, OSError) as error:
            raise InteropError(f"{path} is damaged: {error}") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise InteropError(f"{path} holds a dtype that NumPy has not: {error}") from error
    weights = read_torch_zip(path)
    if not isinstance(weights, Mapping):
        raise InteropError(f"{path} holds a {type(weights).__name__}, not a state dict")
    others = [str(name) for name, value in weights.items() if not isinstance(value, np.ndarray)]
    if others:
        raise InteropError(
            f"{path} holds more than tensors ({', '.join(others[:NAMED])}); "
            "save the state dict alone"
        )
    return {str(name): value for name, value in weights.items()}


def write_state_dict(path: str | Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, in the format that the suffix tells.

    Raises:
        InteropError: if the format has no such dtype, or the file cannot be written.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            contiguous = {name: np.array(array, order="C") for name, array in weights.items()}
            safetensors.numpy.save_file(contiguous, path)
        else:
            write_torch_zip(path, weights)
    except (SafetensorError, OSError, KeyError) as error:
        raise InteropError(f"{path} cannot be written: {error}") from error


def _heads(agent: Agent) -> int:
    encoder: Any = agent.trajectory_encoder
    return getattr(encoder, "heads", 1)
