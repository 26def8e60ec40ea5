"""ECG files of every kind are read as the reference reads them, and refused when they are damaged or ambiguous."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modalign.errors import ReadError
from modalign.modalities import get_modality
from modalign.modalities.ecg.leads import MERL, STANDARD, derive_limb, lead_name
from modalign.modalities.ecg.wfdb_samples import decode
from tests.modalities.ecg_files import LEADS, ecg, write_dicom, write_wfdb

modality = get_modality("ecg")
load = modality.load
ALL = ", ".join(LEADS)


@pytest.mark.parametrize(
    ("written", "lead"),
    [
        ("i", "I"), ("avr", "aVR"), ("AVR", "aVR"), ("aVF ", "aVF"), ("v6", "V6"), ("MLII", "MLII"), ("mlii", "MLII"),
        ("Lead I (Einthoven)", "I"), ("Lead aVL", "aVL"), ("MDC_ECG_LEAD_V2", "V2"), ("DII", "II"), ("V4R", "V4R"),
        ("vx", "VX"), ("-aVR", "-AVR"), ("1", None), ("ch 2", None), ("lead 3", None), ("ECG", None), ("", None),
        ("pleth", None), ("lead", None),
    ],
)  # fmt: skip
def test_lead_names(written: str, lead: str | None) -> None:
    assert lead_name(written) == lead


def test_lead_swap_is_an_involution() -> None:
    swap = [STANDARD.index(name) for name in MERL]
    assert swap[4:6] == [5, 4]
    assert [swap[i] for i in swap] == list(range(12))
    assert sorted(MERL) == sorted(STANDARD)


def test_limb_leads_follow_from_any_two() -> None:
    whole = torch.from_numpy(ecg())
    for kept in (("I", "II"), ("II", "III"), ("I", "III")):
        given = whole[[LEADS.index(name) for name in kept]]
        data, channels = derive_limb(given, kept, 100)
        assert channels == LEADS[:6]
        torch.testing.assert_close(data, whole[:6])
    assert derive_limb(whole[1:2], ("II",), 100)[1] == ("II",)


def test_wfdb_equals_the_wfdb_package(real_data: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    paths = sorted((real_data / "ecg_ptbxl500").rglob("*.hea"))[::25]
    paths += sorted((real_data / "ecg_cinc2021_mini").rglob("[HJ]*.hea"))[::6]
    assert len(paths) > 20
    for path in paths:
        signal, record = load(path), wfdb.rdrecord(str(path.with_suffix("")))
        assert signal.channels == STANDARD
        assert signal.rate == record.fs
        torch.testing.assert_close(signal.data, torch.from_numpy(record.p_signal.T).float(), atol=1e-6, rtol=0)


def test_einthoven_on_ptb_xl(real_data: Path) -> None:
    for path in sorted((real_data / "ecg_ptbxl500/records100").rglob("*.hea"))[::20]:
        one, two, three = load(path).data[:3]
        assert (one + three - two).abs().mean() < 1e-3


def test_headers_that_the_wfdb_package_refuses(real_data: Path) -> None:
    path = real_data / "ecg_cinc2021_mini/records/E00001.hea"
    assert path.read_text().startswith("E00001.mat 12 500 5000 05-May-2020")
    signal = load(path)
    raw = np.fromfile(path.with_suffix(".mat"), "<i2", offset=24).reshape(-1, 12).T / 4880
    np.testing.assert_allclose(signal.data.numpy(), raw, atol=1e-6)
    assert load(path.with_suffix(".mat")).data.equal(signal.data)


def test_codes_and_no_patient_in_meta(real_data: Path) -> None:
    signal = load(real_data / "ecg_cinc2021_mini/records/HR06000.hea")
    assert signal.meta["codes"] == ("164934002", "426783006")
    assert set(signal.meta) == {"format", "codes", "left_out"}
    assert "59" not in str(signal.meta["codes"]).replace("164934002", "")


@pytest.mark.parametrize("kind", ["16", "24", "32", "61", "80", "160", "212"])
@pytest.mark.parametrize("samples", [400, 401])
def test_sample_formats_equal_the_wfdb_package(kind: str, samples: int, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    values = np.random.default_rng(0).integers(-100, 100, size=(samples, 3))
    if kind in ("61", "160"):  # the package does not write these
        raw = (values.astype(">i2") if kind == "61" else (values + 32768).astype("<u2")).tobytes()
        np.testing.assert_array_equal(decode(np.frombuffer(raw, np.uint8), kind, 3), values)
        return
    wfdb.wrsamp(
        "x", fs=100, units=["mV"] * 3, sig_name=["I", "II", "V1"], d_signal=values, fmt=[kind] * 3,
        adc_gain=[100.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path),
    )  # fmt: skip
    expected = wfdb.rdrecord(str(tmp_path / "x")).p_signal.T
    np.testing.assert_allclose(load(tmp_path / "x.hea").data.numpy(), expected, atol=1e-6)


def test_dicom_of_pydicom() -> None:
    data = pytest.importorskip("pydicom.data")
    signal = load(data.get_testdata_file("waveform_ecg.dcm", download=False))
    assert signal.channels == STANDARD
    assert (signal.rate, tuple(signal.data.shape)) == (1000.0, (12, 10000))
    import pydicom

    raw = pydicom.dcmread(data.get_testdata_file("waveform_ecg.dcm", download=False)).waveform_array(0).T / 1000
    torch.testing.assert_close(signal.data, torch.from_numpy(raw).float(), atol=1e-6, rtol=0)
    assert (signal.data[0] + signal.data[2] - signal.data[1]).abs().max() < 0.01
    median = load(data.get_testdata_file("waveform_ecg.dcm", download=False), group="1")
    assert median.data.shape[1] == 1200


def test_dicom_is_reordered_and_says_nothing_of_the_patient(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    signal = load(write_dicom(tmp_path / "a.dcm"))
    assert signal.channels == ("I", "II", "V1")
    np.testing.assert_allclose(signal.data.numpy(), ecg(rate=250)[[0, 1, 6]], atol=2e-3)
    assert "Doe" not in str(signal)
    assert "secret" not in str(signal)


@pytest.mark.parametrize(
    "kind", ["csv", "csv.gz", "tsv", "parquet", "frame", "npy", "npy-TC", "array", "tensor", "headless"]
)
def test_tables_and_arrays(kind: str, tmp_path: Path) -> None:
    values = ecg()
    order = [6, 1, 0]
    table = pd.DataFrame({"time": np.arange(400) / 100, "v1": values[6], "ii": values[1], "I": values[0]})
    fields: dict[str, Any] = {"rate": "100", "unit": "mV"}
    path: Any = tmp_path / f"x.{kind}"
    if kind in ("csv", "csv.gz"):
        table.to_csv(path, index=False)
    elif kind == "tsv":
        table.to_csv(path, index=False, sep="\t")
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind == "frame":
        path = table
    else:
        fields["leads"] = "V1, II, I"
        if kind == "headless":
            path = tmp_path / "x.csv"
            np.savetxt(path, values[order].T, delimiter=",")
        elif kind.startswith("npy"):
            path = tmp_path / "x.npy"
            np.save(path, values[order].T if kind == "npy-TC" else values[order])
        else:
            path = values[order] if kind == "array" else torch.from_numpy(values[order]).half()
    signal = load(path, **fields)
    assert signal.channels == ("I", "II", "V1")
    np.testing.assert_allclose(signal.data.numpy(), values[[0, 1, 6]], atol=2e-3)


def test_matlab_5_as_cpsc2018_has_it(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "A0001.mat", {"ECG": {"sex": "Female", "age": 70, "data": ecg()}})
    signal = load(tmp_path / "A0001.mat", rate=100, unit="mV", leads=ALL)
    np.testing.assert_allclose(signal.data.numpy(), ecg(), atol=1e-6)
    assert "Female" not in str(signal.meta)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1), ("uV", 1e3), ("V", 1e-3)])
def test_units(unit: str, factor: float, tmp_path: Path) -> None:
    np.testing.assert_allclose(load(ecg() * factor, leads=ALL, rate=100, unit=unit).data.numpy(), ecg(), atol=1e-5)
    path = write_wfdb(tmp_path, values=ecg() * factor, gain=1000 / factor, unit=unit)
    np.testing.assert_allclose(load(path).data.numpy(), ecg(), atol=1e-3)
    frame = pd.DataFrame({f"{lead} [{unit}]": row for lead, row in zip(LEADS, ecg() * factor)})
    np.testing.assert_allclose(load(frame, rate=100).data.numpy(), ecg(), atol=1e-5)


def test_gain_overrides_the_header(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, gain=1000.0)
    header = path.read_text()
    path.write_text(header.replace("1000/mV", "20/mV"))  # QRS of 50 mV and more
    with pytest.raises(ReadError, match=r"swing by .* ecg.gain"):
        load(path)
    np.testing.assert_allclose(load(path, gain=1000).data.numpy(), ecg(), atol=1e-3)
    path.write_text(header.replace("1000/mV", "1000(500)/xyz"))  # the header's baseline stays, its unit does not
    np.testing.assert_allclose(load(path, gain=1000).data.numpy(), ecg() - 0.5, atol=1e-3)


def test_leads_that_were_each_normalised_are_refused_unless_admitted() -> None:
    values = ecg()
    values = (values - values.min(1, keepdims=True)) / np.ptp(values, axis=1, keepdims=True)
    with pytest.raises(ReadError, match="swings by 1 mV exactly"):
        load(values, leads=ALL, rate=100, unit="mV")
    assert load(values, leads=ALL, rate=100, gain=1).data.max() == 1


def test_a_window_is_the_same_part_of_the_whole(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path)
    table = tmp_path / "x.csv"
    pd.DataFrame(dict(zip(LEADS, ecg()))).to_csv(table, index=False)
    for source, fields in ((path, {}), (table, {"rate": 100, "unit": "mV"})):
        part = load(source, start="1.5", end="3", **fields)
        torch.testing.assert_close(part.data, load(source, **fields).data[:, 150:300])


def test_invalid_samples(tmp_path: Path) -> None:
    values = ecg()
    values[1, 100:110] = np.nan
    values[11, :300] = np.nan
    path = write_wfdb(tmp_path, values=values)
    with pytest.raises(ReadError, match=r"310 samples .* \(II 2.5%, V6 75.0%\)"):
        load(path)
    signal = load(path, nan="interpolate")
    assert signal.channels == STANDARD[:11]
    assert signal.meta["left_out"] == ("V6",)
    line = signal.data[1, 99:111].diff()
    assert (line - line.mean()).abs().max() < 1e-5
    assert load(path, end=1, leads=f"{', '.join(LEADS[:11])}, -").data.shape == (11, 100)


def test_limb_leads_only_when_asked(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, values=ecg()[:2], leads=LEADS[:2])
    assert load(path).channels == ("I", "II")
    assert load(path, derive="true").channels == LEADS[:6]


def test_leads_by_the_manifest(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, values=ecg()[:3], leads=("ch1", "MLII", "x9"))
    with pytest.raises(ReadError, match=r"channel 1 \('ch1'\).*ecg.leads"):
        load(path)
    assert load(path, leads="I=ch1, II=MLII").channels == ("I", "II")
    assert load(path, leads="-, II, V1").channels == ("II", "V1")
    both = write_wfdb(tmp_path, "m", values=ecg()[:2], leads=("MLII", "II"))
    assert load(both).channels == ("II", "MLII")


def test_a_record_of_several_segments_by_the_wfdb_package(tmp_path: Path) -> None:
    pytest.importorskip("wfdb")
    write_wfdb(tmp_path, "a")
    write_wfdb(tmp_path, "b")
    (tmp_path / "whole.hea").write_text("whole/2 12 100 800\na 400\nb 400\n")
    signal = load(tmp_path / "whole.hea", start=1, end=7)
    np.testing.assert_allclose(signal.data.numpy(), np.tile(ecg(), 2)[:, 100:700], atol=1e-3)


def edit(text: str, new: str):
    def change(path: Path) -> None:
        head = path.read_text()
        assert text in head
        path.write_text(head.replace(text, new, 1))

    return change


def resize(suffix: str, size: int):
    def change(path: Path) -> None:
        other = path.with_suffix(suffix)
        content = other.read_bytes()
        other.write_bytes(content[:size] if size > 0 else content + b"\0" * -size)

    return change


def overwrite(suffix: str, at: int, content: bytes):
    def change(path: Path) -> None:
        other = path.with_suffix(suffix)
        held = bytearray(other.read_bytes())
        held[at : at + len(content)] = content
        other.write_bytes(bytes(held))

    return change


DAMAGE = {
    "truncated dat": ("dat", resize(".dat", 5000), "cut short"),
    "empty dat": ("dat", lambda p: p.with_suffix(".dat").write_bytes(b""), "cut short"),
    "absent dat": ("dat", lambda p: p.with_suffix(".dat").unlink(), "not beside it"),
    "longer dat": ("dat", resize(".dat", -4800), "mend its length"),
    "header says more samples": ("dat", edit(" 400\n", " 500\n"), "header lies"),
    "header says fewer samples": ("dat", edit(" 400\n", " 300\n"), "mend its length"),
    "header says more channels": ("dat", edit("r 12 ", "r 13 "), "13 channels and 12 signal lines"),
    "header says fewer channels": ("dat", edit("r 12 ", "r 11 "), "11 channels and 12 signal lines"),
    "no rate": ("dat", edit(" 100 400", ""), "no rate"),
    "zero rate": ("dat", edit(" 100 400", " 0 400"), "rate is 0"),
    "rate is a word": ("dat", edit(" 100 400", " fast 400"), "first line"),
    "no record line": ("dat", lambda p: p.write_text("# only a comment\n"), "no record line"),
    "binary header": ("dat", lambda p: p.write_bytes(b"\xff\xfe\x00\x01" * 9), "not a WFDB header"),
    "zero signals": ("dat", lambda p: p.write_text("r 0 100 400\n"), "0 signals"),
    "unknown unit": ("dat", edit("/mV", "/mmHg"), "no voltage"),
    "no gain": ("dat", edit("1000/mV", "0/mV"), "ecg.gain"),
    "gain is a word": ("dat", edit("1000/mV", "much/mV"), "not of the form"),
    "unknown format": ("dat", edit(" 16 1000", " 99 1000"), "format 99"),
    "formats in one file": ("dat", edit(" 16 1000", " 24 1000"), "different formats"),
    "signal file elsewhere": ("dat", edit("r.dat", "../r.dat"), "own folder"),
    "doubled lead": ("dat", edit(" 0 III\n", " 0 ii\n"), "2 channels are lead II"),
    "nameless lead": ("dat", edit(" 0 III\n", " 0\n"), "ecg.leads"),
    "unknown lead": ("dat", edit(" 0 III\n", " 0 RESP\n"), "no lead that is known"),
    "a bit turned": ("dat", overwrite(".dat", 77, b"\x11"), "checksum"),
    "wrong magic mat": ("mat", overwrite(".mat", 0, b"RIFFxxxxWAVE"), "not a MATLAB v4"),
    "v5 mat with header": ("mat", overwrite(".mat", 0, b"MATLAB 5.0 MAT-file"), "not a MATLAB v4"),
    "mat of other channels": ("mat", overwrite(".mat", 4, b"\x06"), "says 6 of 400"),
    "truncated mat": ("mat", resize(".mat", 999), "cut short"),
    "mat of its header only": ("mat", resize(".mat", 12), "cut short"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_wfdb_is_refused(case: str, tmp_path: Path) -> None:
    kind, change, message = DAMAGE[case]
    path = write_wfdb(tmp_path, kind=kind)
    load(path)
    change(path)
    with pytest.raises(ReadError, match=message) as caught:
        load(path)
    assert "r.hea" in str(caught.value)


def test_nan_samples_are_refused_where_the_checksum_holds(tmp_path: Path) -> None:
    values = ecg()
    values[2, 7] = np.nan
    with pytest.raises(ReadError, match=r"r\.hea: 1 samples .*marked invalid \(III 0\.2%\); set ecg\.nan"):
        load(write_wfdb(tmp_path, values=values))


def test_a_wrong_checksum_may_be_ignored(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, checksum=7)
    with pytest.raises(ReadError, match="checksum = ignore"):
        load(path)
    assert load(path, checksum="ignore").channels == STANDARD
    assert load(write_wfdb(tmp_path, "z", checksum=0)).channels == STANDARD  # all 0: not stated


def test_real_files_damaged(real_data: Path, tmp_path: Path) -> None:
    source = sorted((real_data / "ecg_ptbxl500/records100").rglob("*.hea"))[0]
    for suffix in (".hea", ".dat"):
        shutil.copyfile(source.with_suffix(suffix), tmp_path / f"{source.stem}{suffix}")
    dat = tmp_path / f"{source.stem}.dat"
    load(tmp_path / source.name)
    dat.write_bytes(dat.read_bytes()[:-1])
    with pytest.raises(ReadError, match="cut short"):
        load(tmp_path / source.name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "mm[Hg]"}, "no voltage"),
        ({"unit": ""}, "ecg.gain"),
        ({"sensitivity": "0"}, "sensitivity"),
        ({"samples": 9999}, "bytes"),
        ({"samples": 10}, "bytes"),
        ({"groups": 0}, "without waveforms"),
        ({"groups": 2}, "choose one with ecg.group"),
        ({"names": ("Lead II", "Lead II", "Lead V1")}, "2 channels are lead II"),
        ({"names": ("Pleth", "Lead I", "Lead V1")}, "no lead that is known"),
        ({"data": b"\0" * 30}, "bytes"),
    ],
)
def test_damaged_dicom_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    path = write_dicom(tmp_path / "a.dcm", **changes)
    with pytest.raises(ReadError, match=message) as caught:
        load(path)
    assert "a.dcm" in str(caught.value)


def test_truncated_dicom_is_refused(tmp_path: Path) -> None:
    data = pytest.importorskip("pydicom.data")
    content = Path(data.get_testdata_file("waveform_ecg.dcm", download=False)).read_bytes()
    for size in (100, 140, 2000, len(content) // 2):
        path = tmp_path / f"{size}.dcm"
        path.write_bytes(content[:size])
        with pytest.raises(ReadError, match=f"{size}.dcm"):
            load(path)


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.csv", "I,II\n1,2\nx,4\n", {"rate": 100, "unit": "mV"}, "row 2, column 'I': 'x'"),
        ("a.csv", "I,II\n1,2\n,4\n", {"rate": 100, "unit": "mV"}, "1 samples are NaN"),
        ("a.csv", "I,II\n0.1,0.2\n", {"rate": 100}, "ecg.unit"),
        ("a.csv", "I,II\n0.1,0.2\n", {"unit": "mV"}, "ecg.rate"),
        ("a.csv", "I,I\n0.1,0.2\n", {"rate": 100, "unit": "mV"}, "2 channels are lead I"),
        ("a.csv", "I,what\n0.1,0.2\n", {"rate": 100, "unit": "mV"}, "'what'"),
        ("a.csv", "0.1,0.2\n0.3,0.4\n", {"rate": 100, "unit": "mV"}, "ecg.leads"),
        ("a.csv", "I,II\n", {"rate": 100, "unit": "mV"}, "a.csv"),
        ("a.csv", "I,II\n0.1,0.2,0.3\n", {"rate": 100, "unit": "mV"}, "mend the header|not a readable"),
        ("a.csv", "I [mV],II [mV]\n0.1,0.2\n", {"rate": 100, "unit": "uV"}, "mend one"),
        ("a.xyz", "I,II\n0.1,0.2\n", {"rate": 100}, "cannot be read"),
        ("a.dat", "????", {}, "header a.hea"),
        ("a.mat", "????", {"leads": "I", "rate": 1}, "MATLAB"),
        ("a.npy", "????", {"leads": "I", "rate": 1}, "not a readable NumPy"),
        ("a.parquet", "????", {}, "not a readable Parquet"),
        ("a.dcm", "????", {}, "not a readable DICOM"),
        ("a.csv.gz", "????", {}, "not a readable CSV"),
    ],
)
def test_bad_tables_are_refused(name: str, content: str, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ReadError, match=message) as caught:
        load(path, **fields)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("array", "fields", "message"),
    [
        (np.zeros((12, 400)), {"rate": 100, "unit": "mV"}, "no names"),
        (np.zeros((11, 400)), {"rate": 100, "unit": "mV", "leads": ALL}, "names 12"),
        (np.zeros((12, 12)), {"rate": 100, "unit": "mV", "leads": ALL}, r"\(C, T\) or \(T, C\)"),
        (np.zeros((12, 0)), {"rate": 100, "unit": "mV", "leads": ALL}, "empty"),
        (np.full((12, 400), "x"), {"rate": 100, "unit": "mV", "leads": ALL}, "not of numbers"),
        (np.full((12, 400), np.inf), {"rate": 100, "unit": "mV", "leads": ALL}, "infinite"),
        (ecg(), {"rate": 100, "unit": "mV", "leads": "I, I"}, "twice"),
        (ecg(), {"rate": 100, "unit": "mV", "leads": "I, Q"}, "'Q' is no lead"),
        (ecg(), {"rate": 0, "unit": "mV", "leads": ALL}, "rate"),
        (ecg(), {"rate": 100, "unit": "furlong", "leads": ALL}, "unit"),
        (ecg(), {"rate": 100, "unit": "mV", "leads": ALL, "start": 3, "end": 2}, "not after"),
        (ecg(), {"rate": 100, "unit": "mV", "leads": ALL, "start": 3, "end": 5}, "does not lie inside"),
        (ecg() * 1e-3, {"rate": 100, "unit": "mV", "leads": ALL}, "gain or unit"),
        (ecg() * 1e3, {"rate": 100, "unit": "mV", "leads": ALL}, "gain or unit"),
    ],
)
def test_bad_arrays_are_refused(array: np.ndarray, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ReadError, match=message):
        load(array, **fields)


def test_rates_must_agree(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path)
    with pytest.raises(ReadError, match=r"100 Hz and ecg\.rate says 500"):
        load(path, rate=500)
    assert load(path, rate=100.05).rate == 100


def test_ecg_leads_must_not_contradict_the_file(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path, values=ecg()[:2], leads=("I", "II"))
    with pytest.raises(ReadError, match="write II=II"):
        load(path, leads="II, I")
    assert load(path, leads="II=II").channels == ("II",)
    with pytest.raises(ReadError, match="0 channels are called"):
        load(path, leads="II=V9")
    with pytest.raises(ReadError, match="names 3 leads"):
        load(path, leads="I, II, III")
