"""ECGs that look readable and are not: damaged MATLAB, segments, frames, clocks, voltages, flat and dead leads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.base import Signal
from modalign.modalities.ecg import filters
from modalign.modalities.ecg.leads import lead_name
from modalign.modalities.ecg.processing import EcgProcessing
from modalign.modalities.ecg.wfdb_samples import decode
from tests.modalities.ecg_files import LEADS, ecg, write_dicom, write_wfdb

modality = get_modality("ecg")
load = modality.load
TWO = {"leads": "I, II", "rate": 100, "unit": "mV"}


def two() -> np.ndarray:
    return ecg()[:2]


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_matlab_is_refused_and_never_crashes(compressed: bool, tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "a.mat"
    savemat(path, {"val": two()}, do_compression=compressed)
    np.testing.assert_allclose(load(path, **TWO).data.numpy(), two(), atol=1e-6)
    good = path.read_bytes()
    for at in range(126, 200):  # byte 176, set to 0, killed Python
        for value in (0, 1, 14, 255):
            path.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            try:
                load(path, **TWO)
            except ReadError:
                continue
    for size in (60, 130, 180, len(good) - 9):
        path.write_bytes(good[:size])
        with pytest.raises(ReadError, match="not a readable MATLAB"):
            load(path, **TWO)


def segments(folder: Path, second: dict[str, Any] | None = None, total: int = 800) -> Path:
    write_wfdb(folder, "s1", two(), leads=("I", "II"))
    write_wfdb(folder, "s2", **{"values": two(), "leads": ("I", "II"), **(second or {})})
    path = folder / "all.hea"
    path.write_text(f"all/2 2 100 {total}\ns1 400\ns2 400\n")
    return path


def test_segments_are_joined(tmp_path: Path) -> None:
    signal = load(segments(tmp_path))
    np.testing.assert_allclose(signal.data.numpy(), np.concatenate([two(), two()], 1), atol=1e-3)
    assert load(tmp_path / "all.hea", start=3, end=5).data.equal(signal.data[:, 300:500])
    (tmp_path / "lay.hea").write_text("lay 2 100 0\n~ 16 1000/mV 16 0 0 0 0 I\n~ 16 1000/mV 16 0 0 0 0 II\n")
    (tmp_path / "var.hea").write_text("var/3 2 100 500\nlay 0\ns1 400\n~ 100\n")
    assert load(tmp_path / "var.hea", end=4).data.equal(signal.data[:, :400])
    with pytest.raises(ReadError, match="200 samples are NaN"):
        load(tmp_path / "var.hea")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"leads": ("II", "V1")}, "has the channels II, V1"),
        ({"rate": 50}, "rates of"),
        ({"checksum": 7}, "checksum"),
        ({"gain": 0}, "in no unit"),
        ({"values": ecg()[:2, :300]}, "300 samples, not 400"),
    ],
)
def test_segments_that_differ_are_refused(second: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=message):
        load(segments(tmp_path, second))
    with pytest.raises(ReadError, match="its segments have 800"):
        load(segments(tmp_path, total=900))


def test_several_samples_a_frame(tmp_path: Path) -> None:
    stored = np.round(two() * 1000).astype("<i2")
    data = stored.reshape(2, 200, 2).transpose(1, 0, 2).tobytes()

    def write(gain: str = "1000/mV", head: str = "x 2 50 200", sums: str = "0", spare: bytes = b"") -> Path:
        (tmp_path / "x.dat").write_bytes(data + spare)
        lines = [f"x.dat 16x2 {gain} 16 0 0 {sums} 0 {lead}" for lead in ("I", "II")]
        (tmp_path / "x.hea").write_text("\n".join([head, *lines]) + "\n")
        return tmp_path / "x.hea"

    signal = load(write())
    assert signal.rate == 100
    np.testing.assert_allclose(signal.data.numpy(), stored / 1000, atol=1e-6)
    assert load(write(), start=1.01, end=2).data.equal(signal.data[:, 101:200])
    assert load(write(head="x 2"), rate=100).data.equal(signal.data)
    for changes, message in (
        ({"gain": "0"}, "ecg.gain"), ({"gain": "1e999/mV"}, "not finite"), ({"head": "x 2"}, "no rate"),
        ({"sums": "77"}, "checksum"), ({"spare": data}, "mend its length"),
    ):  # fmt: skip
        with pytest.raises(ReadError, match=message):
            load(write(**changes))


@pytest.mark.parametrize("kind", ["310", "311"])
def test_packed_formats_equal_the_wfdb_package(kind: str, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    raw = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8)
    if kind == "311":
        raw[3::4] &= 0x3F  # two bits that hold nothing
    (tmp_path / "x.dat").write_bytes(raw.tobytes())
    (tmp_path / "x.hea").write_text(f"x 1 100 300\nx.dat {kind} 100/mV 10 0 0 0 0 I\n")
    expected = wfdb.rdrecord(str(tmp_path / "x"), physical=False).d_signal
    np.testing.assert_array_equal(decode(raw, kind, 1), expected)


def test_flac(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    stored = np.round(two() * 1000).astype(int).T
    wfdb.wrsamp(
        "x", fs=100, units=["mV"] * 2, sig_name=["I", "II"], d_signal=stored, fmt=["516"] * 2, adc_gain=[1000.0] * 2,
        baseline=[0] * 2, write_dir=str(tmp_path),
    )  # fmt: skip
    np.testing.assert_allclose(load(tmp_path / "x.hea").data.numpy(), stored.T / 1000, atol=1e-6)


def test_a_window_is_refused_where_the_record_is_damaged(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path)
    load(path, start=0, end=1)
    data = path.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-24] + b"\x01" * 24)
    with pytest.raises(ReadError, match="checksum"):
        load(path, start=0, end=1)
    assert load(path, start=0, end=1, checksum="ignore").data.shape == (12, 100)
    path = write_wfdb(tmp_path, "f")
    lines = path.read_text().splitlines()
    parts = lines[1].split()
    path.write_text("\n".join([lines[0], " ".join([*parts[:5], "555", *parts[6:]]), *lines[2:]]) + "\n")
    with pytest.raises(ReadError, match="first value differs in I"):
        load(path)


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        (two() * [[50], [0.5]], {}, "mV in I,"),
        (two() * [[1], [7e-4]], {}, "II swings by no more"),
        ((two() * 50)[:, :80], {}, "swing by"),
        ((two() - two().min(1, keepdims=True)) / np.ptp(two(), axis=1, keepdims=True), {"end": 0.5}, "by 1 mV exactly"),
        (2 * (two() - two().min(1, keepdims=True)) / np.ptp(two(), axis=1, keepdims=True) - 1, {}, "by 2 mV exactly"),
    ],
)
def test_voltages_are_judged_lead_by_lead_over_the_whole(
    values: np.ndarray, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ReadError, match=message):
        load(values, **TWO, **fields)
    record = write_wfdb(
        tmp_path, values=np.clip(values, -32, 32), leads=("I", "II"), gain=1000 if values.max() > 0.1 else 1e6
    )
    with pytest.raises(ReadError, match=message):
        load(record, start=0, end=0.5)


@pytest.mark.parametrize(
    ("column", "stamps", "fields", "result"),
    [
        ("time", np.arange(400) / 50, {"rate": 100}, "says 50 Hz"),
        ("time", np.arange(400) / 100, {"rate": 100}, 100),
        ("time", np.arange(400) * 10.0, {"rate": 100}, 100),
        ("sample", np.arange(400), {"rate": 100}, 100),
        ("time [s]", np.arange(400) / 100, {}, 100),
        ("time_ms", np.round(np.arange(400) * 1000 / 360), {}, 360),
        ("time", pd.date_range("2026-01-01", periods=400, freq="10ms"), {}, 100),
        ("time", np.arange(400) / 100, {}, "ecg.rate"),
        ("time", np.r_[np.arange(200), np.arange(200) + 900] / 100, {"rate": 100}, "gap at row 201"),
        ("index", np.r_[np.arange(200), np.arange(200) + 201], {"rate": 100}, "gap at row 201"),
        ("time", np.r_[np.arange(200), np.arange(200)] / 100, {"rate": 100}, "goes back at row 201"),
    ],
)
def test_a_column_of_time_says_the_rate(column: str, stamps: Any, fields: dict[str, Any], result: Any) -> None:
    frame = pd.DataFrame({column: stamps, "I": two()[0], "II": two()[1]})
    if isinstance(result, str):
        with pytest.raises(ReadError, match=result):
            load(frame, unit="mV", **fields)
    else:
        assert load(frame, unit="mV", **fields).rate == pytest.approx(result, rel=1e-3)


@pytest.mark.parametrize("cells", [two()[0] * (1 + 1j), pd.date_range("2026-01-01", periods=400, freq="10ms")])
def test_columns_of_other_types_are_refused(cells: Any) -> None:
    with pytest.raises(ReadError, match="not of numbers"):
        load(pd.DataFrame({"I": cells}), rate=100, unit="mV")


@pytest.mark.parametrize("rate", [1e-5, 5, 999_999])
def test_implausible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ReadError, match="none of an ECG"):
        load(two(), **{**TWO, "rate": rate})


def test_names_with_units_and_prefixes() -> None:
    for written, lead in (("ECG I", "I"), ("II_mV", "II"), ("V1(mV)", "V1"), ("EKG aVL", "aVL"), ("ECG", None)):
        assert lead_name(written) == lead
    assert load(pd.DataFrame({"II_mV": two()[1], "ECG V1": two()[0]}), rate=100, unit="mV").channels == ("II", "V1")


def test_dicom_codes_and_skew(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm"))
    channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
    names = zip(channels, ("MDC", "SCPECG", "MDC"), ("2:2", "5.6.3-9-1", "2:3"), ("Ableitung II", "Ableitung I", "C1"))
    for channel, scheme, code, meaning in names:
        source = channel.ChannelSourceSequence[0]
        source.CodingSchemeDesignator, source.CodeValue, source.CodeMeaning = scheme, code, meaning
    dataset.save_as(tmp_path / "b.dcm")
    assert load(tmp_path / "b.dcm").channels == ("I", "II", "V1")
    channels[0].ChannelTimeSkew = "0.1"
    dataset.save_as(tmp_path / "c.dcm")
    with pytest.raises(ReadError, match="ChannelTimeSkew"):
        load(tmp_path / "c.dcm")
    channels[0].ChannelTimeSkew, channels[0].ChannelSourceSequence[0].CodeMeaning = "0", "Lead III"
    dataset.save_as(tmp_path / "d.dcm")
    with pytest.raises(ReadError, match="code says lead II"):
        load(tmp_path / "d.dcm")


def test_nothing_is_derived_from_a_dead_electrode() -> None:
    dead = np.stack([two()[1], np.zeros(400)])
    values = EcgProcessing(derive=True, normalise="none")(Signal(torch.from_numpy(dead).float(), 100.0, ("II", "I")))
    assert values["values"].any(1).tolist() == [False, True] + [False] * 10
    assert load(dead, leads="II, I", rate=100, unit="mV", derive=True).channels == ("I", "II")


def test_flat_for_the_most_part_is_flat_and_all_flat_is_refused() -> None:
    data = torch.from_numpy(ecg(10)).float()
    data[0, 200:900] = 0
    data[1] = 1e-7 * torch.randn(1000)
    values = EcgProcessing()(Signal(data, 100.0, LEADS))["values"]
    assert values.any(1).tolist() == [False, False] + [True] * 10
    with pytest.raises(ReadError, match="flat leads: I, II"):
        EcgProcessing()(Signal(torch.zeros(12, 1000), 100.0, LEADS))


@pytest.mark.parametrize("baseline", ["none", "highpass", "median"])
def test_windows_are_filtered_as_the_whole_is(baseline: str) -> None:
    drift = 0.5 * np.sin(2 * np.pi * 0.15 * np.arange(5000) / 500)
    given = Signal(torch.from_numpy(ecg(10, 500) + drift).float(), 500.0, LEADS)
    process = EcgProcessing(seconds=2.5, baseline=baseline, normalise="none")
    whole = EcgProcessing(baseline=baseline, normalise="none")(given)["values"]
    for source in (given, process.prepare(given)):
        windows = [process(w)["values"] for w in process.segments(source)]
        assert torch.equal(torch.cat(windows, 1), whole)
    prepared = process.prepare(given)
    assert process.prepare(prepared) is prepared
    cut = process.crop(given, torch.Generator().manual_seed(0))
    assert torch.equal(process(cut)["values"], cut.data)
    (wander,) = modality.build_augmentations([{"name": "baseline_wander"}])
    added = wander.apply(prepared, torch.Generator().manual_seed(0)).data - prepared.data
    raw = wander.apply(Signal(whole, 100.0, LEADS), torch.Generator().manual_seed(0)).data - whole
    torch.testing.assert_close(added, filters.without_baseline(raw, 100, baseline, 0.5), atol=1e-5, rtol=0)


def test_the_median_baseline_is_fast() -> None:
    from scipy.ndimage import median_filter

    rows = torch.randn(12, 5000)

    def seconds(function: Any) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    ours = min(seconds(lambda: filters.median_baseline(rows, 500)) for _ in range(3))
    assert ours < 0.5 * seconds(lambda: median_filter(rows.double().numpy(), size=(1, 301), mode="nearest"))


def test_hum_that_the_rate_cannot_show_is_refused() -> None:
    (noise,) = modality.build_augmentations([{"name": "noise", "kind": "powerline", "frequency": 60}])
    with pytest.raises(ReadError, match="above 120 Hz"):
        noise.apply(Signal(torch.from_numpy(two()).float(), 100.0, ("I", "II")), torch.Generator())


def test_merls_vit_takes_long_records_in_windows() -> None:
    encoder = modality.build_encoder("vit1d-tiny", width=24, depth=1, heads=2).eval()
    process = modality.build_processing(**encoder.processing_defaults())
    given = Signal(torch.from_numpy(ecg(60, 500)).float(), 500.0, LEADS)
    items = [process(window) for window in process.segments(given)]
    assert len(items) == 6
    assert encoder(**process.collate(items)).tokens.shape[1] == 100
