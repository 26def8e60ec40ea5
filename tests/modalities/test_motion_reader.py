"""Reading motion: every format gives the same Signal, and whatever is wrong or ambiguous is refused with its mend."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.motion import timing
from modalign.modalities.motion.fields import STANDARD, MotionFields, parse_columns
from modalign.modalities.motion.reader import read_motion
from modalign.modalities.motion.units import STANDARD_GRAVITY

DATA = Path(os.environ.get("MODALIGN_DATA") or Path(__file__).parents[2] / "../shared/data")
NAMES = list(STANDARD)
LIST = ",".join(STANDARD)
GOOD = {"unit": "m/s2", "gyro_unit": "rad/s", "rate": 50}
motion = get_modality("motion")


def recording(rows: int = 200) -> np.ndarray[Any, Any]:
    """Walking-like numbers (rows, 6) in m/s2 and rad/s that float32 holds exactly."""
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=(rows, 6)) * 64) / 64
    values[:, 2] += 9.75
    return values


def frame(values: np.ndarray[Any, Any] | None = None) -> pd.DataFrame:
    return pd.DataFrame(recording() if values is None else values, columns=NAMES)


def write(path: Path, table: pd.DataFrame, **options: Any) -> Path:
    table.to_csv(path, index=False, **options)
    return path


# What is read


def test_all_formats_give_the_same_signal(tmp_path: Path) -> None:
    table = frame()
    array = table.to_numpy()
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "f.npy", np.asfortranarray(array.astype(np.float32)))
    np.save(tmp_path / "t.npy", array.T)
    table.to_parquet(tmp_path / "a.parquet")
    sources: list[tuple[Any, dict[str, Any]]] = [
        (write(tmp_path / "a.csv", table), {}),
        (write(tmp_path / "semicolon.csv", table, sep=";"), {}),
        (write(tmp_path / "tab.csv", table, sep="\t"), {}),
        (write(tmp_path / "a.tsv", table, sep="\t"), {}),
        (write(tmp_path / "bom.csv", table, encoding="utf-8-sig"), {}),
        (write(tmp_path / "a.csv.gz", table), {}),
        (write(tmp_path / "headless.csv", table, header=False), {"columns": LIST}),
        (write(tmp_path / "shuffled.csv", table[NAMES[::-1]]), {}),
        (str(tmp_path / "a.csv"), {}),
        (tmp_path / "a.parquet", {}),
        (tmp_path / "a.npy", {"columns": LIST}),
        (tmp_path / "f.npy", {"columns": LIST}),
        (tmp_path / "t.npy", {"columns": LIST}),
        (array, {"columns": LIST}),
        (array, {"columns": STANDARD}),
        (torch.from_numpy(array.copy()), {"columns": LIST}),
        (torch.from_numpy(array.copy()).float().requires_grad_(), {"columns": LIST}),
        (table, {}),
    ]
    expected = torch.from_numpy(array.T.astype(np.float32))
    for source, fields in sources:
        signal = motion.load(source, **GOOD, **fields)
        assert torch.equal(signal.data, expected), source
        assert signal.data.is_contiguous()
        assert (signal.rate, signal.channels) == (50, STANDARD)
        assert not signal.data.requires_grad


def test_units_give_the_same_signal() -> None:
    si = motion.load(frame(), **GOOD)
    other = recording()
    other[:, :3] /= STANDARD_GRAVITY
    other[:, 3:] = np.degrees(other[:, 3:])
    signal = motion.load(frame(other), unit="g", gyro_unit="deg/s", rate=50)
    torch.testing.assert_close(signal.data, si.data, rtol=1e-6, atol=1e-6)


def test_cells_of_a_manifest_arrive_as_strings() -> None:
    fields = {"rate": " 50 ", "start": "1", "end": "3", "unit": "m/s2 ", "gyro_unit": "rad/s", "location": 7}
    signal = motion.load(frame(), **fields)
    assert signal.data.shape == (6, 100)
    assert signal.meta == {"location": "7", "source_rate": 50.0}


def test_a_mapping_names_and_a_dash_skips() -> None:
    values = recording()
    table = pd.DataFrame({"n": range(200), "ax": values[:, 0], "az": values[:, 2]})
    signal = motion.load(table, columns="wrist/acc_z=az, wrist/acc_x=ax", unit="m/s2", rate=50)
    assert signal.channels == ("wrist/acc_x", "wrist/acc_z")
    again = motion.load(table.to_numpy(), columns="-, wrist/acc_x, wrist/acc_z", unit="m/s2", rate=50)
    assert torch.equal(signal.data, again.data)


def test_channels_come_in_one_order_whatever_the_file_has() -> None:
    names = ["wrist/gyro_z", "ankle/acc_y", "wrist/acc_x", "acc_x"]
    signal = motion.load(pd.DataFrame(np.full((20, 4), 1.5), columns=names), unit="m/s2", gyro_unit="rad/s", rate=50)
    assert signal.channels == ("acc_x", "ankle/acc_y", "wrist/acc_x", "wrist/gyro_z")


def test_ios_is_the_opposite_of_gravity_and_user_acceleration() -> None:
    user, gravity = np.array([0.125, 0.0, -0.25]), np.array([0.0, -1.0, 0.0])
    table = pd.DataFrame(np.tile([*user, *gravity], (60, 1)), columns=["ux", "uy", "uz", "gx", "gy", "gz"])
    fields = {"columns": "acc_x=ux,acc_y=uy,acc_z=uz", "gravity": "gx, gy, gz", "convention": "ios", "rate": 50}
    for unit, factor in (("g", STANDARD_GRAVITY), ("m/s2", 1.0)):
        scale = 1.0 if unit == "g" else STANDARD_GRAVITY
        signal = motion.load(table * scale, unit=unit, **fields)
        expected = torch.tensor(-(user + gravity) * scale * factor, dtype=torch.float32)
        torch.testing.assert_close(signal.data[:, 0], expected)


def test_android_is_the_sum_of_gravity_and_linear_acceleration() -> None:
    linear, gravity = np.array([0.5, 0.0, -0.25]), np.array([0.0, 9.81, 0.0])
    names = [f"linear_acceleration_{a}" for a in "xyz"]
    table = pd.DataFrame(np.tile([*linear, *gravity], (60, 1)), columns=[*names, "gx", "gy", "gz"])
    fields = {"columns": ",".join(f"acc_{a}={n}" for a, n in zip("xyz", names)), "rate": 50, "unit": "m/s2"}
    signal = motion.load(table, convention="android", gravity="gx,gy,gz", **fields)
    torch.testing.assert_close(signal.data[:, 0], torch.tensor(linear + gravity, dtype=torch.float32))
    with pytest.raises(ReadError, match=r"'linear_acceleration_x' is a name of Android.*convention = android"):
        motion.load(table, **fields)
    with pytest.raises(ReadError, match=r"set motion.gravity to gravity's three columns"):
        motion.load(table, convention="android", **fields)
    whole = pd.DataFrame(np.tile(linear + gravity, (60, 1)), columns=names)
    assert torch.equal(motion.load(whole, convention="specific_force", **fields).data, signal.data)


# Time


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_rate_from_stamps_since_1970(unit: str, factor: int) -> None:
    table = frame()
    ticks = (np.arange(200) * 20) * (factor // 1_000) if factor > 1 else np.arange(200) * 0.02
    table["t"] = ticks + 1_700_000_000 * factor
    signal = motion.load(table, unit="m/s2", gyro_unit="rad/s", time="t", time_unit=unit)
    assert signal.rate == pytest.approx(50, rel=1e-5)
    assert signal.data.shape == (6, 200)


def test_rate_from_stamps_rounded_to_milliseconds_and_from_dates() -> None:
    table = frame()
    table["t"] = np.round(np.arange(200) * 1000 / 64)  # steps of 15 and 16 ms, whose median says 62.5 Hz
    fields = {"unit": "m/s2", "gyro_unit": "rad/s", "time": "t"}
    assert motion.load(table, time_unit="ms", **fields).rate == pytest.approx(64, rel=2e-3)
    for zone in (None, "Europe/Berlin"):
        table["t"] = pd.date_range("2024-01-01", periods=200, freq="20ms", tz=zone)
        assert motion.load(table, **fields).rate == pytest.approx(50)


def test_stated_rate_agrees_with_stamps_within_two_percent() -> None:
    table = frame()
    table["t"] = np.arange(200) / 49.5
    fields = {**GOOD, "time": "t", "time_unit": "s"}
    signal = motion.load(table, **fields)
    assert (signal.rate, signal.data.shape[1]) == (50, 200)
    assert signal.meta["source_rate"] == pytest.approx(49.5)


@pytest.mark.parametrize("rate", [20.0, 33.3, 50.0, 99.62, 104.0])
@pytest.mark.parametrize("stamped", [False, True])
def test_equal_spans_give_equal_windows(rate: float, stamped: bool) -> None:
    table = frame(recording(3000))
    fields: dict[str, Any] = {**GOOD, "rate": rate}
    if stamped:
        table["t"] = np.arange(3000) / rate
        fields.update(time="t", time_unit="s")
    lengths = set()
    for k in range(9):
        signal = motion.load(table, **fields, start=k * 2.56, end=k * 2.56 + 2.56)
        lengths.add(signal.data.shape[1])
        first = round(k * 2.56 * rate, 6)
        at = np.abs(table["acc_x"].to_numpy() - signal.data[0, 0].item())
        assert at[max(int(first) - 1, 0) : int(first) + 2].min() == 0
    assert lengths == {round(2.56 * rate)}


@pytest.mark.parametrize(
    ("rows", "start", "end", "count"), [(101, 0.99, None, 52), (100, 0.02, 2.01, 100), (100, 0.01, 2.0, 100)]
)
def test_rounding_at_the_end_stays_inside(rows: int, start: float, end: float | None, count: int) -> None:
    window = timing.window_by_rate(rows, 50, start, end, "here")
    assert window.rows.stop <= rows
    assert window.rows.stop - window.rows.start == count


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.floats(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_windows_stay_inside(rows: int, rate: float, a: float, b: float) -> None:
    length = rows / rate
    start, end = sorted((a * length, b * length))
    try:
        window = timing.window_by_rate(rows, rate, start, end, "here")
    except ReadError as error:
        event(str(error)[:20])  # an empty window is refused
        return
    assert 0 <= window.rows.start < window.rows.stop <= rows
    assert abs((window.rows.stop - window.rows.start) / rate - (end - start)) <= 0.5001 / rate


def test_irregular_stamps_are_interpolated_when_asked() -> None:
    rng = np.random.default_rng(1)
    stamps = np.sort(np.arange(400) / 50 + rng.uniform(-0.006, 0.006, 400))
    stamps = np.delete(stamps, [100, 101, 250])
    values = np.stack([np.sin(stamps), np.cos(stamps), 9.8 + 0 * stamps], 1)
    table = pd.DataFrame(values, columns=NAMES[:3]).assign(t=stamps)
    fields = {"unit": "m/s2", "time": "t", "time_unit": "s", "rate": 50}
    with pytest.raises(ReadError, match=r"irregular.*motion\.irregular = resample"):
        motion.load(table, **fields)
    whole = motion.load(table, **fields, irregular="resample")
    part = motion.load(table, **fields, irregular="resample", start=2, end=4)
    for signal, start in ((whole, 0.0), (part, 2.0)):
        moments = stamps[0] + start + np.arange(signal.data.shape[1]) / 50
        np.testing.assert_allclose(signal.data[0], np.sin(moments), atol=1e-3)
        np.testing.assert_allclose(signal.data[1], np.cos(moments), atol=1e-3)
    assert part.data.shape == (3, 100)


def test_a_long_gap_is_refused_but_the_parts_beside_it_are_read() -> None:
    table = frame().assign(t=np.r_[np.arange(100), np.arange(100) + 150] / 50)
    fields = {**GOOD, "time": "t", "time_unit": "s"}
    with pytest.raises(ReadError, match=r"step of 1020 ms after 1\.980 s"):
        motion.load(table, **fields)
    with pytest.raises(ReadError, match=r"no samples for 1.02 s after 1.980 s.*motion.start"):
        motion.load(table, **fields, irregular="resample")
    assert torch.equal(motion.load(table, **fields, end=1.5).data[0], torch.tensor(recording()[:75, 0]).float())
    after = motion.load(table, **fields, start=3.5)
    assert torch.equal(after.data[0], torch.tensor(recording()[125:, 0]).float())


# What is refused: (source maker, fields, what the error says)

BASE = {"unit": "m/s2", "gyro_unit": "rad/s", "rate": "50"}


def _bytes(name: str, content: bytes) -> Any:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _table(change: Any = lambda table: table, name: str = "bad.csv", **options: Any) -> Any:
    def make(folder: Path) -> Path:
        table = change(frame())
        if name.endswith(".parquet"):
            table.to_parquet(folder / name)
            return folder / name
        return write(folder / name, table, **options)

    return make


def _array(array: Any, name: str = "bad.npy") -> Any:
    def make(folder: Path) -> Path:
        np.save(folder / name, array, allow_pickle=True)
        return folder / name

    return make


def _cell(value: Any, row: int = 17, column: str = "acc_y") -> Any:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype(object)
        table.loc[row - 1, column] = value
        return table

    return change


def _stamps(stamps: Any) -> Any:
    return lambda table: table.assign(t=stamps)


def _scaled(factor: float, columns: slice) -> Any:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.iloc[:, columns] *= factor
        return table

    return change


def _truncated_gz(folder: Path) -> Path:
    content = gzip.compress(frame().to_csv(index=False).encode())
    return Path(_bytes("bad.csv.gz", content[: len(content) // 2])(folder))


def _truncated_npy(folder: Path) -> Path:
    return Path(_bytes("bad.npy", _array(recording())(folder).read_bytes()[:400])(folder))


def _npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", a=recording())
    return (folder / "a.npz").rename(folder / "bad.npy")


def _folder(folder: Path) -> Path:
    (folder / "bad.csv").mkdir()
    return folder / "bad.csv"


STEP = np.arange(200) / 50
TIMED = {k: v for k, v in BASE.items() if k != "rate"} | {"time": "t", "time_unit": "s"}
IOS = {"columns": "acc_x=userAcceleration.x,acc_y=userAcceleration.y,acc_z=userAcceleration.z"}
_ios = _table(lambda t: t.iloc[:, :3].set_axis([f"userAcceleration.{a}" for a in "xyz"], axis=1))
_line = b"acc_x,acc_y,acc_z\n"
BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    # files
    "empty file": (_bytes("bad.csv", b""), BASE, "empty"),
    "header only": (_bytes("bad.csv", _line), BASE, "no rows; copy or record it again"),
    "empty first line": (_bytes("bad.csv", b"\n" + _line), BASE, "first line is empty"),
    "binary": (_bytes("bad.csv", bytes(range(256)) * 4), BASE, "must be UTF-8 text"),
    "binary nul": (_bytes("bad.csv", b"a\x00b,c\n1,2\n"), BASE, "must be UTF-8 text"),
    "latin-1 body": (_bytes("bad.csv", _line + b"1,2,\xe9\n"), BASE, "must be UTF-8 text"),
    "ragged rows": (_bytes("bad.csv", _line + b"1,2,3\n1,2,3,4\n"), BASE, "line 3, saw 4"),
    "more cells than names": (_bytes("bad.csv", _line + b"1,2,3,4\n"), BASE, "mend the header"),
    "unclosed quote": (_bytes("bad.csv", _line + b'1,"2,3\n'), BASE, "not a readable CSV"),
    "not gzip": (_bytes("bad.csv.gz", _line), BASE, "gzipped as .csv.gz"),
    "cut gzip": (_truncated_gz, BASE, "gzipped as .csv.gz"),
    "no header": (_table(header=False), BASE, "no header; name its 6 columns in order"),
    "delimiters tie": (_bytes("bad.csv", b"a,b;c\n1,2;3\n"), BASE, "use one of them"),
    "unknown suffix": (_bytes("bad.mat", b"x"), BASE, "convert it to one of .csv"),
    "folder": (_folder, BASE, "is a folder; give one file"),
    "not parquet": (_bytes("bad.parquet", b"PAR1 no"), BASE, "not a readable Parquet"),
    "not npy": (_bytes("bad.npy", b"hello world, no numpy here"), {**BASE, "columns": LIST}, "np.save"),
    "cut npy": (_truncated_npy, {**BASE, "columns": LIST}, "np.save"),
    "broken header": (
        _bytes("bad.npy", b"\x93NUMPY\x01\x00\x20\x00" + b"{'shape': (200, 6".ljust(31) + b"\n"),
        {**BASE, "columns": LIST}, "np.save"),
    "pickled npy": (_array(np.array([{}, 1], dtype=object)), {**BASE, "columns": LIST}, "never loaded"),
    "npz": (_npz, {**BASE, "columns": LIST}, "npz archive; save the one array"),
    "1-D": (_array(np.zeros(9)), {**BASE, "columns": LIST}, r"motion is \(T, C\)"),
    "3-D": (_array(np.zeros((9, 6, 2))), {**BASE, "columns": LIST}, "reshape"),
    "text array": (_array(np.full((9, 6), "a")), {**BASE, "columns": LIST}, "save it as float32"),
    "complex array": (_array(np.zeros((9, 6), complex)), {**BASE, "columns": LIST}, "save it as float32"),
    "no rows": (_array(np.zeros((0, 6))), {**BASE, "columns": LIST}, "no rows"),
    # columns
    "array without names": (_array(recording()), BASE, "name its 6 columns in order"),
    "array with a mapping": (_array(recording()), {**BASE, "columns": "acc_x=0"}, "name its 6 columns in order"),
    "square": (_array(recording(6)), {**BASE, "columns": LIST}, r"may be \(T, C\) or \(C, T\)"),
    "too few names": (_array(recording()), {**BASE, "columns": "acc_x,acc_y"}, "'-' for one to skip"),
    "unknown name": (_array(recording()), {**BASE, "columns": LIST.replace("acc_y", "ac_y")}, "did you mean 'acc_y'"),
    "only skipped": (_array(recording()), {**BASE, "columns": "-,-,-,-,-,-"}, "names no channel"),
    "no such column": (_table(), {**BASE, "columns": "acc_x=acc_X"}, "no column 'acc_X': did you mean 'acc_"),
    "no such time": (_table(), {**TIMED, "time": "stamp"}, "no column 'stamp'"),
    "names not standard": (
        _table(lambda t: t.rename(columns=lambda c: c.replace("_", ""))), BASE, "motion.columns must say.*acc_x=accx"),
    "nearly standard": (_table(lambda t: t.rename(columns={"gyro_y": "Gyro_Y"})), BASE, "motion.columns must say"),
    "same name twice": (_table(lambda t: t.set_axis(["acc_x"] * 6, axis=1)), BASE, "6 columns are named 'acc_x'"),
    "names in another order": (
        _table(), {**BASE, "columns": "gyro_x,acc_y,acc_z,acc_x,gyro_y,gyro_z"}, "to go by name"),
    # cells
    "word": (_table(_cell("walking")), BASE, "row 17, column 'acc_y': 'walking' is not a number"),
    "decimal comma": (_table(lambda t: t.map(lambda v: f"{v:.3f}".replace(".", ",")), sep=";"), BASE, "decimal points"),
    "empty cell": (_table(_cell(None)), BASE, "row 17, column 'acc_y' is empty"),
    "infinite": (_table(_cell(float("inf"))), BASE, "row 17, column 'acc_y' is empty, NaN or infinite"),
    "true": (_table(lambda t: t.assign(acc_y=True)), BASE, "row 1, column 'acc_y': 'True' is not a number"),
    "null in parquet": (_table(lambda t: t.assign(acc_z=None), "bad.parquet"), BASE, "row 1, column 'acc_z' is empty"),
    "text in parquet": (_table(lambda t: t.assign(acc_z="x"), "bad.parquet"), BASE, "row 1, column 'acc_z': 'x'"),
    "NaN in npy": (_array(np.full((9, 6), np.nan)), {**BASE, "columns": LIST}, "row 1, column 'acc_x' is empty, NaN"),
    # rate and time
    "no rate": (_table(), {"unit": "m/s2", "gyro_unit": "rad/s"}, r"set motion.rate \(Hz\), or motion.time"),
    "resample without time": (_table(), {**BASE, "irregular": "resample"}, "needs motion.time"),
    "no time unit": (_table(_stamps(STEP)), {**TIMED, "time_unit": None}, "motion.time_unit is missing; say s, ms"),
    "rates disagree": (_table(_stamps(STEP)), {**TIMED, "rate": 100}, "motion.rate says 100 Hz and the time column 50"),
    "wrong time unit": (_table(_stamps(STEP * 1000)), {**TIMED, "rate": 50}, "mend motion.rate or motion.time_unit"),
    "backwards": (_table(_stamps(np.r_[STEP[:50], STEP[49] - 1, STEP[51:]])), TIMED, "row 51 goes back in time"),
    "repeated": (_table(_stamps(np.r_[STEP[:50], STEP[49], STEP[51:]])), TIMED, "row 51 repeats time.*drop repeats"),
    "jitter": (_table(_stamps(STEP + np.tile([0, 0.002], 100))), TIMED, "steps vary by 10.*= resample to interp"),
    "gap": (_table(_stamps(np.r_[STEP[:50], STEP[50:] + 0.04])), TIMED, "step of 60 ms after 0.980 s"),
    "one row": (_table(lambda t: t.iloc[:1].assign(t=0.0)), TIMED, "1 rows say no rate"),
    "start after end": (_table(), {**BASE, "start": 3, "end": 2}, "it lasts 4.000 s"),
    "start is end": (_table(), {**BASE, "start": 2, "end": 2}, "it lasts 4.000 s"),
    "start outside": (_table(), {**BASE, "start": 4.5}, "it lasts 4.000 s"),
    "end outside": (_table(), {**BASE, "end": 4.5}, "outside the recording, which lasts 4.000 s"),
    "end outside, stamps": (_table(_stamps(STEP)), {**TIMED, "end": 4.5}, "which lasts 4.000 s"),
    "less than a sample": (_table(), {**BASE, "start": 1, "end": 1.001}, "make the window longer"),
    # units
    "no unit": (_table(), {"gyro_unit": "rad/s", "rate": 50}, "motion.unit is missing; say g or m/s2"),
    "no gyro unit": (_table(), {"unit": "g", "rate": 50}, "motion.gyro_unit is missing; say deg/s or rad/s"),
    "g is m/s2": (_table(), {**BASE, "unit": "g"}, r"set motion.unit = m/s2"),
    "m/s2 is g": (_table(_scaled(1 / 9.8, slice(0, 3))), BASE, r"set motion.unit = g"),
    "milli-g": (_table(_scaled(102, slice(0, 3))), {**BASE, "unit": "g"}, "convert the raw counts or mg"),
    "rad/s is deg/s": (_table(_scaled(57, slice(3, 6))), BASE, "set motion.gyro_unit = deg/s"),
    "raw gyroscope": (_table(_scaled(5000, slice(3, 6))), {**BASE, "gyro_unit": "deg/s"}, "convert the raw counts"),
    # convention
    "no convention": (_ios, {**BASE, **IOS}, "set motion.convention = ios"),
    "no gravity": (_ios, {**BASE, **IOS, "convention": "ios"}, "set motion.gravity to gravity's three columns"),
    "gravity without ios": (_table(), {**BASE, "gravity": "a,b,c"}, "motion.gravity is for motion.convention = ios"),
    "gravity for two axes": (
        _table(), {**BASE, "columns": "acc_x=a", "convention": "ios", "gravity": "b,c,d"}, "map all three"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused_with_the_file_and_the_mend(case: str, tmp_path: Path) -> None:
    make, fields, says = BAD[case]
    path = make(tmp_path)
    with pytest.raises(ReadError, match=says) as caught:
        motion.load(path, **fields)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rate": "fast"}, "motion.rate"),
        ({"rate": 0}, "motion.rate.*greater than 0"),
        ({"rate": "nan"}, "motion.rate"),
        ({"rate": float("inf")}, "motion.rate"),
        ({"start": -1}, "motion.start"),
        ({"unit": "mg"}, "motion.unit.*'g' or 'm/s2'.*given: 'mg'"),
        ({"gyro_unit": "dps"}, "motion.gyro_unit.*deg/s"),
        ({"time_unit": "min"}, "motion.time_unit"),
        ({"convention": "iphone"}, "motion.convention.*specific_force"),
        ({"irregular": "maybe"}, "motion.irregular.*resample"),
        ({"columns": "acc_x=a, acc_x=b"}, "'acc_x' is given twice"),
        ({"columns": "acc_x=a, acc_y=a"}, "'a' is given twice"),
        ({"columns": "acc_x, acc_x"}, "'acc_x' is given twice"),
        ({"columns": "acc_x=a, acc_y"}, "'acc_y' says no source column"),
        ({"columns": "accx=a"}, "did you mean 'acc_x'"),
        ({"columns": " , "}, "names no column"),
        ({"gravity": "a,b"}, "three columns"),
        ({"rte": 50}, "motion.rte is not a field of motion: did you mean 'rate'"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ReadError, match=says):
        motion.load(frame(), **{**GOOD, **fields})


@pytest.mark.parametrize("source", [3, None, ["a"], {"acc_x": [1.0]}])
def test_other_types_are_refused(source: Any) -> None:
    with pytest.raises(ReadError, match="give a path"):
        motion.load(source, **GOOD)


def test_plausible_motion_is_not_refused() -> None:
    rng = np.random.default_rng(2)
    hard = recording() + np.pad(rng.normal(size=(200, 3)) * 20, ((0, 0), (0, 3)))  # sport: 3 g in the median
    assert motion.load(frame(hard), **GOOD).data.isfinite().all()
    short = recording(40) * [0.1, 0.1, 0.1, 1, 1, 1]  # under a second nothing is concluded
    assert motion.load(frame(short), **GOOD).data.shape == (6, 40)


def test_fields_survive_being_parsed_twice() -> None:
    fields = motion.parse_fields({"columns": LIST, "gravity": "a,b,c", "rate": "50"})
    assert motion.parse_fields(fields) == fields
    assert parse_columns({"acc_x": "a"}) == parse_columns("acc_x=a") == {"acc_x": "a"}


def test_a_window_of_a_long_file_is_cheap(tmp_path: Path) -> None:
    path = tmp_path / "long.npy"
    np.save(path, np.tile(recording(1000).astype(np.float32), (1000, 1)))
    fields = MotionFields(columns=LIST, start=10_000, end=10_002, **GOOD)
    read_motion(path, fields)
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        read_motion(path, fields)
        took.append(time.perf_counter() - begun)
    assert min(took) < 2e-3


# Real recordings


@pytest.mark.skipif(not (DATA / "imu_motionsense").is_dir(), reason="no MODALIGN_DATA")
@pytest.mark.parametrize("activity", ["sit_13", "std_14", "wlk_15", "jog_16"])
def test_motionsense(activity: str) -> None:
    columns = [f"acc_{a}=userAcceleration.{a}" for a in "xyz"] + [f"gyro_{a}=rotationRate.{a}" for a in "xyz"]
    fields = {
        "columns": ", ".join(columns), "gravity": "gravity.x,gravity.y,gravity.z", "unit": "g", "gyro_unit": "rad/s",
        "rate": "50", "convention": "ios", "location": "front trouser pocket",
    }  # fmt: skip
    for subject in (1, 9, 24):
        path = DATA / f"imu_motionsense/A_DeviceMotion_data/{activity}/sub_{subject}.csv.gz"
        signal = motion.load(path, **fields)
        raw = pd.read_csv(path)
        assert signal.data.shape == (6, len(raw))
        mean = signal.data[:3].double().mean(1)
        gravity = torch.tensor(raw[["gravity.x", "gravity.y", "gravity.z"]].mean().to_numpy())
        # Gravity points down and specific force up.
        assert torch.cosine_similarity(mean, gravity, dim=0) < -0.94
        if activity in ("sit_13", "std_14"):
            # Sitting people change their posture in some recordings, so the size is taken at each moment.
            assert signal.data[:3].norm(dim=0).median() == pytest.approx(STANDARD_GRAVITY, rel=0.02)
        window = motion.load(path, **fields, start="1.28", end="3.84")
        assert torch.equal(window.data, signal.data[:, 64:192])
