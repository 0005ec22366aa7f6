"""PyTorch's file format: what PyTorch wrote is read, what is written reads back."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amago_jax.interop import InteropError, read_state_dict, write_state_dict
from amago_jax.interop.torch_zip import STORAGES, read_torch_zip, write_torch_zip

DATA = Path(__file__).parent / "data"
NATIVE = [dtype for dtype in STORAGES.values() if dtype != ml_dtypes.bfloat16]


def test_tensors_that_pytorch_wrote():
    """All dtypes; transposed, sliced and shared storages; parameters, scalars, empty ones."""
    found = read_state_dict(DATA / "tensors.pt")
    with np.load(DATA / "tensors.npz") as expected:
        assert list(found) == expected.files
        for name in expected.files:
            assert found[name].shape == expected[name].shape
            np.testing.assert_array_equal(found[name].astype(expected[name].dtype), expected[name])
    assert found["bfloat16"].dtype == ml_dtypes.bfloat16
    assert found["float16"].dtype == np.float16


def test_a_modules_state_dict_is_a_dictionary_of_arrays():
    found = read_state_dict(DATA / "module.pt")
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {"0.weight": (2, 3), "0.bias": (2,), "1.weight": (2,), "1.bias": (2,)}
    np.testing.assert_array_equal(found["1.weight"], np.ones(2))


ARRAYS = st.sampled_from(NATIVE).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(max_examples=50, deadline=None)
@given(weights=st.dictionaries(st.text(max_size=20), ARRAYS, max_size=4))
def test_what_is_written_reads_back(tmp_path_factory, weights):
    path = tmp_path_factory.mktemp("zip") / "weights.pt"
    write_torch_zip(path, weights)
    found = read_torch_zip(path)
    assert list(found) == list(weights)
    for name, array in weights.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_memory_order_and_bfloat16_survive(tmp_path):
    weights = {
        "transposed": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    }
    write_state_dict(tmp_path / "weights.pt", weights)
    found = read_state_dict(tmp_path / "weights.pt")
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


class Harm:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harm-was-done",)


def archive_of(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive_of(tmp_path / "harm.pt", pickle.dumps({"weight": Harm()}, protocol=2))
    with pytest.raises(InteropError, match=r"refers to (posix|nt|os)\.mkdir, .* refused"):
        read_state_dict(tmp_path / "harm.pt")
    assert not (tmp_path / "harm-was-done").exists()


def test_whole_modules_are_refused():
    with pytest.raises(InteropError, match=r"refers to torch\.nn.* refused"):
        read_state_dict(DATA / "whole_module.pt")


def test_what_holds_more_than_tensors_is_named():
    with pytest.raises(InteropError, match=r"more than tensors \(model, step\)"):
        read_state_dict(DATA / "nested.pt")


def test_the_old_format_is_named():
    with pytest.raises(InteropError, match=r"no zip archive, .* save it again"):
        read_state_dict(DATA / "legacy.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InteropError, match=r"there is no file .*none\.pt"):
        read_state_dict(tmp_path / "none.pt")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.99])
def test_truncated_files_are_named(tmp_path, keep):
    data = (DATA / "tensors.pt").read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InteropError, match=r"cut\.pt"):
        read_state_dict(path)


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 2**31), byte=st.integers(0, 255))
@example(place=3970594, byte=2)  # the archive is said to span several disks
def test_a_damaged_byte_gives_arrays_or_a_clear_error(tmp_path_factory, place, byte):
    data = bytearray((DATA / "module.pt").read_bytes())
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("damaged") / "module.pt"
    path.write_bytes(bytes(data))
    try:
        found = read_state_dict(path)
    except InteropError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def rewritten(path, change):
    """Copy module.pt with one change of its pickle."""
    with zipfile.ZipFile(DATA / "module.pt") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    # The first weight's shape (2, 3) becomes (2, 9): BININT1 operands 2, 3, then TUPLE2.
    path = rewritten(
        tmp_path / "big.pt", lambda data: data.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86")
    )
    with pytest.raises(InteropError, match=r"shape \(2, 9\) does not fit its storage"):
        read_state_dict(path)


def test_compressed_archives_are_refused(tmp_path):
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
    with pytest.raises(InteropError, match="is compressed"):
        read_state_dict(path)


def test_a_big_endian_file_is_read(tmp_path):
    path = tmp_path / "big_endian.pt"
    weights = {"w": np.array([1.0, -2.5], np.float32)}
    write_torch_zip(path, weights)
    swapped = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(swapped, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, np.float32).byteswap().tobytes()
            new.writestr(name, data)
    path.write_bytes(swapped.getvalue())
    np.testing.assert_array_equal(read_state_dict(path)["w"], weights["w"])


def test_dtypes_that_pytorch_has_not_are_named(tmp_path):
    with pytest.raises(InteropError, match="'w' has dtype complex128"):
        write_state_dict(tmp_path / "weights.pt", {"w": np.zeros(2, complex)})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_missing_folder_is_named(tmp_path, suffix):
    with pytest.raises(InteropError, match="cannot be written"):
        write_state_dict(tmp_path / "none" / f"weights{suffix}", {"w": np.zeros(2)})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_scalars_stay_scalars(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    write_state_dict(path, {"w": np.float32(2).reshape(())})
    assert read_state_dict(path)["w"].shape == ()
