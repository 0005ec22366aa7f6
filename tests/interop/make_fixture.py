"""Make the files in data/ with PyTorch itself (2.13): python tests/interop/make_fixture.py.

The tests only read what it made; they need no PyTorch.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found]

FOLDER = Path(__file__).parent / "data"


def main():
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    weights = OrderedDict(
        float32=base,
        transposed=base.T,
        slice=base[1:3, ::2],
        parameter=torch.nn.Parameter(torch.randn(3)),
        float64=torch.randn(2, dtype=torch.float64),
        float16=torch.randn(2, 2).half(),
        bfloat16=torch.randn(5).bfloat16(),
        int64=torch.arange(3),
        int32=torch.arange(3, dtype=torch.int32),
        int8=torch.tensor([-1, 2], dtype=torch.int8),
        uint8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
    )
    torch.save(weights, FOLDER / "tensors.pt")
    expected = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in weights.items()
    }
    np.savez(FOLDER / "tensors.npz", **expected)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    torch.save(module.state_dict(), FOLDER / "module.pt")
    torch.save({"model": module.state_dict(), "step": 3}, FOLDER / "nested.pt")
    torch.save(module.state_dict(), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(module, FOLDER / "whole_module.pt")


if __name__ == "__main__":
    main()
