"""The files are written here byte by byte, as PyTorch before version 1.6 wrote them."""

import pickle

import numpy as np
import pytest

from captioner.encoders import torch_file

_HEADERS = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001})


def _text(content):
    return b"X" + len(content).to_bytes(4, "little") + content.encode()


def _whole(number):
    return b"J" + number.to_bytes(4, "little", signed=True)


def _tuple(numbers):
    return b"(" + b"".join(map(_whole, numbers)) + b"t"


def _name(module, name):
    return f"c{module}\n{name}\n".encode()


def _tensor(name, key, shape, strides, *, offset=0, kind="FloatStorage"):
    """Opcodes for `name: _rebuild_tensor_v2(storage, offset, shape, strides, False, {})`."""
    storage = b"(" + _text("storage") + _name("torch", kind) + _text(key) + _text("cpu") + _whole(6) + b"NtQ"
    arguments = storage + _whole(offset) + _tuple(shape) + _tuple(strides) + b"\x89}"
    return _text(name) + _name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def _write(path, tensors, storages, headers=_HEADERS):
    parts = [pickle.dumps(header, 2) for header in headers]
    parts += [b"\x80\x02}(" + b"".join(tensors) + b"u.", pickle.dumps(list(storages), 2)]
    parts += [len(numbers).to_bytes(8, "little") + numbers.tobytes() for numbers in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture
def six():
    return {"7": np.arange(6, dtype="<f4")}


def test_a_tensor_lies_over_its_storage_by_offset_and_strides(tmp_path, six):
    tensors = [_tensor("turned", "7", (2, 3), (1, 2)), _tensor("tail", "7", (2,), (1,), offset=3)]
    found = torch_file.read_tensors(_write(tmp_path / "a.pth", tensors, six))
    assert found["turned"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["tail"].tolist() == [3, 4]


def test_storages_are_told_apart_by_key_and_type(tmp_path):
    storages = {"1": np.array([1.5], "<f4"), "2": np.array([9], "<i8")}
    tensors = [_tensor("count", "2", (), (), kind="LongStorage"), _tensor("weight", "1", (1,), (1,))]
    found = torch_file.read_tensors(_write(tmp_path / "a.pth", tensors, storages))
    assert found["weight"].tolist() == [1.5] and found["weight"].dtype == np.float32
    assert found["count"] == 9 and found["count"].dtype == np.int64


def test_a_file_cannot_call_a_function(tmp_path, six):
    victim = tmp_path / "victim"
    call = _text("x") + _name("os", "mkdir") + b"(" + _text(str(victim)) + b"tR"
    with pytest.raises(ValueError, match=r"holds tensors alone.*Received: it names os\.mkdir"):
        torch_file.read_tensors(_write(tmp_path / "a.pth", [call], six))
    assert not victim.exists()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((7,), (1,), 0), ((2,), (1,), 5), ((2,), (-1,), 3), ((1,), (1,), -1)]
)
def test_a_tensor_never_shows_memory_beyond_its_storage(tmp_path, six, shape, strides, offset):
    file = _write(tmp_path / "a.pth", [_tensor("x", "7", shape, strides, offset=offset)], six)
    with pytest.raises(ValueError, match="does not fit its storage of 6 numbers"):
        torch_file.read_tensors(file)


def test_a_file_that_is_cut_short_is_refused(tmp_path, six):
    file = _write(tmp_path / "a.pth", [_tensor("x", "7", (6,), (1,))], six)
    for kept in (-1, 10, 0):
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(ValueError, match="holds tensors alone"):
            torch_file.read_tensors(file)


def test_a_file_of_another_version_is_refused(tmp_path, six):
    file = _write(tmp_path / "a.pth", [_tensor("x", "7", (6,), (1,))], six, (_HEADERS[0], 1002, {}))
    with pytest.raises(ValueError, match="version 1002"):
        torch_file.read_tensors(file)
