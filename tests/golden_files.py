"""Reading the golden vectors: numbers computed by the authors' PyTorch implementation.

The folder is the one that AMAGO_JAX_GOLDEN names, by default tests/golden. Every size comes from
a file's meta and shapes, so that another set of files must pass unchanged.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

FOLDER = Path(os.environ.get("AMAGO_JAX_GOLDEN", Path(__file__).parent / "golden"))


@dataclasses.dataclass(frozen=True)
class Golden:
    """One file: its hyperparameters and its arrays by key."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose key begins with ``prefix/``, without it."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}


def load(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return Golden(json.loads(str(arrays.pop("meta"))), arrays)


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Largest difference over the largest expected magnitude is within the tolerance."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{name}: {actual.shape} != {expected.shape}"
    error = np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-8)
    assert error <= tolerance, f"{name}: relative error {error:.2e} > {tolerance:.0e}"


def _wide(x: Any) -> np.ndarray:
    """Return a vector of float64."""
    return np.asarray(x, np.float64).ravel()


def assert_trees_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Each leaf differs by at most the tolerance times the norm of the whole tree."""
    actual, expected = (jax.tree.map(_wide, tree) for tree in (actual, expected))
    norm = np.linalg.norm([np.linalg.norm(x) for x in jax.tree.leaves(expected)])
    paths = jax.tree_util.tree_leaves_with_path(jax.tree.map(np.subtract, actual, expected))
    for path, difference in paths:
        error = np.linalg.norm(difference) / norm
        assert error <= tolerance, f"{jax.tree_util.keystr(path)}: relative error {error:.2e}"
