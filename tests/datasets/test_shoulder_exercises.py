"""The recordings inside the wheel, and an unpickler that admits an exact list and nothing else."""

import io
import os
import pickle

import numpy as np
import pytest

from modalign import ReadError, get_modality, read_manifest
from modalign.datasets import shoulder_exercises as shoulder


def as_npy(value) -> bytes:
    """A .npy of one object, pickled as old numpy did."""
    array = np.empty((), dtype=object)
    array[()] = value
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    return buffer.getvalue() + pickle.dumps(array, protocol=2).replace(b"numpy._core", b"numpy.core")


def test_recordings():
    recordings = shoulder.load_recordings()
    assert len(recordings) == 140
    assert {r.subject for r in recordings} == set(range(1, 11))
    assert {r.label for r in recordings} == set(shoulder.LABELS.values())
    assert all(r.data.ndim == 2 and r.data.shape[1] == 6 for r in recordings)


def test_manifest(tmp_path):
    words = {label: ["one", "two"] for label in shoulder.LABELS.values()}
    path = shoulder.write_manifest(tmp_path, words)
    manifest = read_manifest(path, {"motion": get_modality("motion"), "text": get_modality("text")})
    assert {row.split for row in manifest.split("train").rows} == {"train"}
    assert {row.group for row in manifest.split("test").rows} == {"subject-08", "subject-09", "subject-10"}
    row = manifest.rows[5]
    signal = get_modality("motion").load(row.sources["motion"], **row.fields["motion"])
    assert signal.data.shape == (6, 100)
    recording = shoulder.load_recordings()[int(row.cluster[1:])]
    start = round(row.fields["motion"]["start"] * shoulder.RATE)
    expected = recording.data[start : start + 100].T * np.array([[9.80665]] * 3 + [[1.0]] * 3)
    np.testing.assert_allclose(signal.data.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(shoulder.data_file().read_bytes()[:-1] + b"x")
    with pytest.raises(ReadError, match="SHA-256 is"):
        shoulder.load_recordings(path)
    with pytest.raises(ReadError, match="no such file"):
        shoulder.load_recordings(tmp_path / "absent.npy")


class Command:
    def __reduce__(self):
        return os.system, ("echo owned > owned.txt",)


class Gadget:
    """A way in through a module that is trusted whole: numpy holds functions that load and run."""

    def __reduce__(self):
        return np.load, ("other.npy", None, True)


@pytest.mark.parametrize("value", [Command(), Gadget(), {"a": Command()}, [np.array([Command()], dtype=object)]])
def test_what_is_not_on_the_list_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReadError, match="refused"):
        shoulder.unpickle(as_npy(value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["builtins eval", "numpy load", "numpy.core.multiarray fromfile", "_codecs lookup"])
def test_single_names(name):
    module, attribute = name.split()
    with pytest.raises(pickle.UnpicklingError, match="not on the list"):
        shoulder.RestrictedUnpickler(io.BytesIO(b"")).find_class(module, attribute)


def test_codec_is_only_latin1():
    with pytest.raises(pickle.UnpicklingError, match="encoding"):
        shoulder._decode("x", "bz2")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not numpy at all", as_npy(1)[:-3]])
def test_damaged(content):
    with pytest.raises(ReadError, match="install seglearn again"):
        shoulder.unpickle(content)


def test_arrays_pass():
    value = {"X": [np.arange(6.0).reshape(2, 3)], "s": np.float64(2.0)}
    loaded = shoulder.unpickle(as_npy(value))
    assert np.array_equal(loaded["X"][0], value["X"][0])
