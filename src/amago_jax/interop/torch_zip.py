"""PyTorch's own file format, read and written without PyTorch.

`torch.save` writes a zip archive: `data.pkl` is a pickle in which every tensor names a storage,
and `data/<number>` holds the storages' bytes. A pickle can make a reader call anything; this
reader knows the few names that a state dict needs, and refuses all others.

Source: the notes on serialization semantics in PyTorch's documentation.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from amago_jax.errors import InteropError

STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


def read_torch_zip(path: Path) -> Any:
    """Read what `torch.save` wrote: nested dictionaries of NumPy arrays.

    Raises:
        InteropError: if the file is damaged, of another format, or refers to anything but tensors.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise InteropError(
                "no zip archive, as torch.save writes since PyTorch 1.6; "
                "load it with PyTorch and save it again"
            )
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except InteropError as error:
        raise InteropError(f"{path}: {error}") from error
    except Exception as error:
        # A damaged pickle or archive can fail in any way.
        raise InteropError(f"{path} is damaged: {error}") from error


def _read(archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1:
        raise InteropError(f"holds {len(pickles)} entries data.pkl instead of one")
    root = pickles[0].removesuffix("data.pkl")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InteropError(f"entry {entry.filename!r} is compressed, as torch.save never does")
    order = "little"
    if root + "byteorder" in names:
        order = archive.read(root + "byteorder").decode()
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in storages:
            data = archive.read(f"{root}data/{key}")
            if len(data) < count * dtype.itemsize:
                raise InteropError(f"storage {key} holds {len(data)} bytes, too few for {count}")
            array = np.frombuffer(data, dtype, count)
            storages[key] = array.byteswap() if order == "big" else array
        return storages[key]

    return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


class _Unpickler(pickle.Unpickler):
    """An unpickler that can make dictionaries and tensors, and nothing else."""

    def __init__(self, file: io.BytesIO, storage: Callable[..., np.ndarray]) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise InteropError(f"refers to {module}.{name}, which no state dict needs: refused")

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise InteropError(f"refers to {kind!r}, which is no storage")
        return self._storage(str(key), dtype, int(count))


def _rebuild_tensor(
    storage: np.ndarray,
    offset: int,
    size: Sequence[int],
    stride: Sequence[int],
    *_: Any,
) -> np.ndarray:
    """Copy a tensor out of its storage, which may be larger, shared or in another order."""
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    inside = count == 0 or (offset >= 0 and min(stride, default=0) >= 0 and last < len(storage))
    if min(size, default=0) < 0 or not inside or count > len(storage):
        raise InteropError(f"a tensor of shape {tuple(size)} does not fit its storage")
    steps = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
    return np.array(view)


def _rebuild_parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def write_torch_zip(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write a state dict that `torch.load` reads, with its safe ``weights_only`` too.

    Raises:
        InteropError: if PyTorch has no such dtype.
    """
    names = {dtype: name for name, dtype in STORAGES.items()}
    body = b""
    for key, (name, array) in enumerate(weights.items()):
        if array.dtype not in names:
            raise InteropError(f"{name!r} has dtype {array.dtype}, which PyTorch has not")
        body += _text(name) + _tensor(str(key), array, names[array.dtype])
    data = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK + body
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data + pickle.SETITEMS + pickle.STOP)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(weights.values()):
            little = array.astype(array.dtype.newbyteorder("<"))
            archive.writestr(f"archive/data/{key}", little.tobytes())
        archive.writestr("archive/version", "3\n")


# The pickle is written opcode by opcode: Python's pickler would insist on importing torch.


def _tensor(key: str, array: np.ndarray, storage: str) -> bytes:
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    kind = _text("storage") + _global("torch", storage) + _text(key) + _text("cpu")
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = (
        _tuple(kind + _integer(array.size))
        + pickle.BINPERSID
        + _integer(0)
        + _tuple(b"".join(map(_integer, array.shape)))
        + _tuple(b"".join(map(_integer, strides)))
        + pickle.NEWFALSE
        + hooks
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)


def _tuple(items: bytes) -> bytes:
    return pickle.MARK + items + pickle.TUPLE
