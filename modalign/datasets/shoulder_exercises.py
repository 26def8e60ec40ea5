"""Shoulder exercises by smartwatch: the recordings inside the `seglearn` wheel, read without trusting its pickle.

140 recordings, 10 people, 7 exercises, a watch on the wrist, accelerometer (g) and gyroscope (rad/s) at 50 Hz.
Source: Burns et al. 2018, arXiv:1802.01489; the file is BSD-licensed with the package seglearn.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from modalign.datasets import manifest
from modalign.datasets.manifest import number
from modalign.datasets.motion_windows import CHANNELS, windows
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.datasets.unpacked import unpack_once
from modalign.errors import MissingExtraError, ReadError

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
RATE = 50.0
FILE = "watch_dataset.npy"
LABELS = {
    "PEN": "pendulum swing",
    "ABD": "shoulder abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius row",
    "ROW": "bent-over row",
}
SPLITS = {**dict.fromkeys(range(1, 7), "train"), 7: "val", **dict.fromkeys(range(8, 11), "test")}
"""Subject -> split: 1-6 train, 7 val, 8-10 test."""


@dataclass(frozen=True)
class Recording:
    """One recording: data (T, 6) in g and rad/s, its exercise, who made it, and with which arm."""

    data: NDArray[np.float64]
    label: str
    subject: int
    side: str


def _decode(text: str, encoding: str) -> bytes:
    """What `_codecs.encode` does in an old pickle of bytes, and nothing more."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused: encoding {encoding!r}")
    return text.encode("latin-1")


def _admitted() -> dict[tuple[str, str], Callable[..., Any]]:
    """The exact (module, name) pairs that the file needs. A whole module would be exploitable."""
    from numpy._core import multiarray

    return {
        ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
        ("numpy.core.multiarray", "scalar"): multiarray.scalar,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _decode,
    }


class RestrictedUnpickler(pickle.Unpickler):
    """Admits the pairs of `_admitted()` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a pair up.

        Raises:
            pickle.UnpicklingError: it is not on the list.
        """
        found = _admitted().get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"refused: {module}.{name} is not on the list of what this file may name")
        return found


def unpickle(content: bytes) -> Any:
    """Read the pickle inside a .npy file of one object.

    Raises:
        ReadError: the file is no such .npy, or names something that is not admitted.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"npy version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if shape != () or dtype != np.dtype(object):
            raise ValueError(f"not one object but {dtype} of shape {shape}")
        array = RestrictedUnpickler(stream).load()
        return array.item() if isinstance(array, np.ndarray) else array
    except (ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise ReadError(f"watch_dataset.npy: {error}; install seglearn again") from None


def data_file() -> Path:
    """The file inside the installed wheel, found without importing the package.

    Raises:
        MissingExtraError: seglearn is not installed.
    """
    spec = find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the shoulder-exercise recordings", "demo")
    return Path(spec.submodule_search_locations[0]) / "data" / FILE


def load_recordings(path: Path | None = None) -> list[Recording]:
    """Check the file's SHA-256, then read it.

    Raises:
        MissingExtraError: seglearn is not installed.
        ReadError: the file is not the published one.
    """
    path = path or data_file()
    if not path.is_file():
        raise ReadError(f"{path}: no such file; install seglearn again")
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != SHA256:
        raise ReadError(f"{path}: SHA-256 is {actual}, not the published {SHA256}; install seglearn again")
    loaded = unpickle(content)
    return [
        Recording(
            np.asarray(data, dtype=np.float64),
            LABELS[loaded["y_labels"][int(y)]],
            int(subject),
            "right" if side else "left",
        )
        for data, y, subject, side in zip(loaded["X"], loaded["y"], loaded["subject"], loaded["side"])
    ]


def write_manifest(
    folder: Path, descriptions: dict[str, list[str]], window: float = 2.0, hop: float = 1.0, margin: float = 0.5
) -> Path:
    """Write the recordings as .npy files and a manifest of windows, `FOLDER/manifest.csv`; return its path.

    Args:
        folder: made when needed.
        descriptions: label -> sentences, for the sidecar.
        window: seconds.
        hop: seconds between the starts of windows.
        margin: seconds more on both sides of a training window, from which training cuts a window anew each epoch.
    """
    return _write(folder / "manifest.csv", data_file(), descriptions, window, hop, margin)


def prepare(root: Path, out: Path, *, window: Any = 2.0, hop: Any = 1.0, margin: Any = 0.5) -> Path:
    """Write the manifest from the folder of `watch_dataset.npy`; see the registered options.

    Raises:
        ReadError: the file is not the published one.
        RecipeError: an option has a value that cannot be used.
    """
    words = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    margin = number("margin", margin) if str(margin) != "0" else 0.0
    said = {label: sets["train"] for label, sets in words.items()}
    return _write(out, root / FILE, said, number("window", window), number("hop", hop), margin)


def _write(out: Path, path: Path, descriptions: dict[str, list[str]], window: float, hop: float, margin: float) -> Path:
    recordings = load_recordings(path)
    rows = []
    for k, recording in enumerate(recordings):
        name = f"r{k:03d}"
        split = SPLITS[recording.subject]
        length = len(recording.data) / RATE
        more = margin if split == "train" else 0.0
        rows += [
            {
                "id": f"{name}-{i:03d}",
                "split": split,
                "group": f"subject-{recording.subject:02d}",
                "cluster": name,
                "label": recording.label,
                "motion": f"{name}.npy",
                "motion.start": max(begin - more, 0.0),
                "motion.end": min(end + more, length),
                "side": recording.side,
            }
            for i, (begin, end) in enumerate(windows(0.0, length, window, hop))
        ]

    def write(folder: Path) -> None:
        for k, recording in enumerate(recordings):
            np.save(folder / f"r{k:03d}.npy", recording.data.astype(np.float32))

    files = unpack_once(out, [path], {}, write)
    defaults = {
        "motion.rate": RATE,
        "motion.columns": ", ".join(CHANNELS),
        "motion.unit": "g",
        "motion.gyro_unit": "rad/s",
        "motion.location": "wrist",
    }
    about = "Shoulder exercises by smartwatch, from the package seglearn (Burns et al. 2018, BSD)"
    return manifest.write_manifest(rows, out, files, about, "motion", defaults=defaults, descriptions=descriptions)


register_dataset(
    PublicDataset(
        name="seglearn",
        about="Shoulder exercises by smartwatch, 10 people, 7 exercises (Burns et al. 2018, BSD)",
        prepare=prepare,
        url="https://github.com/dmbee/seglearn, or: pip install seglearn",
        local=lambda: data_file().parent,
        options={
            "window": "seconds of a window (2)",
            "hop": "seconds between the starts of windows (1)",
            "margin": "seconds more on both sides of a training window, to cut from anew each epoch (0.5)",
        },
    )
)
