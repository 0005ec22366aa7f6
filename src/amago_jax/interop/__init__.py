"""The authors' PyTorch weights, in and out."""

from amago_jax.errors import InteropError
from amago_jax.interop.checkpoints import (
    load_torch,
    read_state_dict,
    save_torch,
    write_state_dict,
)

__all__ = ["InteropError", "load_torch", "read_state_dict", "save_torch", "write_state_dict"]
