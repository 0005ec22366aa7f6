"""The authors' PyTorch weights."""

from amago_jax.interop.checkpoints import (
    load_torch,
    read_state_dict,
    save_torch,
    write_state_dict,
)
from amago_jax.interop.torch_zip import InteropError

__all__ = ["InteropError", "load_torch", "read_state_dict", "save_torch", "write_state_dict"]
