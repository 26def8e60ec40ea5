"""The generator of ECGs: what leads owe each other, and each finding measured back from the signal."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.signal import find_peaks

from modalign.align.manifest import read_manifest
from modalign.datasets.simulate.ecg.beats import sokolow, voltages
from modalign.datasets.simulate.ecg.dipole import POTENTIALS, Wave, leads_of, seen_by_leads
from modalign.datasets.simulate.ecg.findings import FINDINGS, TERRITORIES, draw_findings, goes_with, labels_of, of_part
from modalign.datasets.simulate.ecg.manifest import write_simulated_ecg
from modalign.datasets.simulate.ecg.recording import SimulatedEcg, simulate_ecg
from modalign.errors import RecipeError
from modalign.modalities import get_modality
from modalign.modalities.ecg.leads import STANDARD
from modalign.tasks.evaluation import protocol_of

RATE = 500.0
PEOPLE = range(6)


@cache
def made(finding: str, index: int, noise: float = 0.0, seconds: float = 20.0) -> SimulatedEcg:
    return simulate_ecg(5, index, findings=[finding], seconds=seconds, rate=RATE, noise=noise, also=False)


def lead(one: SimulatedEcg, name: str) -> Any:
    return one.signal.data[STANDARD.index(name)].double().numpy()


def r_peaks(one: SimulatedEcg, apart: float) -> Any:
    """Samples of the largest spatial velocity of each QRS, found in the signal alone; beats are `apart` s or more."""
    speed = np.sqrt((np.diff(one.signal.data.double().numpy()[[0, 1, 6, 7, 8, 9, 10, 11]], axis=1) ** 2).sum(0))
    smooth = np.convolve(speed, np.hanning(41), mode="same")
    return find_peaks(smooth, height=0.25 * np.quantile(smooth, 0.99), distance=int(apart * RATE))[0]


def rr(one: SimulatedEcg, apart: float = 0.38) -> Any:
    return np.diff(r_peaks(one, apart)) / RATE


def beat(one: SimulatedEcg, name: str, before: float, after: float, rest: float = 0.0) -> Any:
    """The mean beat of a lead from `before` s before the QRS's onset to `after` s after it; `rest`: least RR before."""
    values, first, last = lead(one, name), round(before * RATE), round(after * RATE)
    end = len(values) / RATE - 0.1
    times = np.array([b.onset for b in one.rhythm.beats])
    kept = [t for t, gap in zip(times[1:], np.diff(times)) if t > before and t + after < end and gap >= rest]
    return np.mean([values[round(t * RATE) - first : round(t * RATE) + last] for t in kept], axis=0)


def test_einthoven_and_goldberger_hold_before_noise_and_after() -> None:
    for finding in FINDINGS:
        for values in (made(finding, 0).clean, made(finding, 0, 3.0).signal.data.double().numpy()):
            one, two, three, right, left, foot = values[:6]
            exact = 1e-12 if values is made(finding, 0).clean else 1e-5
            for a, b in ((one + three, two), (right, -(one + two) / 2), (left, one - two / 2), (foot, two - one / 2)):
                assert np.abs(a - b).max() < exact
            assert np.abs(right + left + foot).max() < exact
    by_hand = {"III": (-0.397, 1.301, -0.191), "aVF": (-0.081, 1.1835, -0.1615), "V6": (0.831, 0.076, 0.23)}
    for name, vector in by_hand.items():
        assert [seen_by_leads(axis)[name] for axis in np.eye(3)] == pytest.approx(vector)
    assert np.abs(POTENTIALS[:3].sum(0)).max() < 1e-12, "Wilson's terminal"


def test_waves() -> None:
    wave, time = Wave(0.1, 0.02, (1, 2, 3)), np.linspace(0, 1, 1001)
    assert time[wave.at(time).argmax()] == pytest.approx(0.1)
    assert wave.at(np.array([0.12]))[0] == pytest.approx(np.exp(-0.5))
    flat = Wave(0.5, 0.01, (1, 0, 0), flat=0.4).at(time)
    assert flat[350:600] == pytest.approx(1, abs=1e-3)
    assert flat[[200, 900]] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("finding", "slowest", "fastest", "most"),
    [
        ("sinus rhythm", 60, 100, 0.06),
        ("sinus bradycardia", 35, 60, 0.06),
        ("sinus tachycardia", 100, 150, 0.04),
        ("sinus arrhythmia", 58, 90, 0.2),
        ("paced rhythm", 58, 82, 0.02),
        ("first degree AV block", 60, 100, 0.06),
    ],
)
def test_rates_are_those_of_the_label(finding: str, slowest: float, fastest: float, most: float) -> None:
    for index in PEOPLE:
        one = made(finding, index)
        found = rr(one)
        assert slowest < 60 / found.mean() < fastest
        assert 60 / found.mean() == pytest.approx(one.drawn["heart_rate"], rel=0.02)
        assert found.std() / found.mean() < most
        assert found.std() == pytest.approx(one.rhythm.intervals(20).std(), abs=0.015)
    if finding == "sinus arrhythmia":
        assert all(np.ptp(rr(made(finding, index))) > 0.12 for index in PEOPLE), "seconds, the usual criterion"


def test_fibrillation_is_irregular_without_memory_and_without_p_waves() -> None:
    for index in PEOPLE:
        found = rr(made("atrial fibrillation", index), 0.3)
        assert 0.12 < found.std() / found.mean() < 0.4
    pooled = [rr(made("atrial fibrillation", index, seconds=120.0), 0.3) for index in PEOPLE]
    memory = [np.corrcoef(found[:-1], found[1:])[0, 1] for found in pooled]
    assert abs(np.mean(memory)) < 0.1

    def before(finding: str) -> float:
        """mV2: the mean beat's energy in II where P lies; f waves have no place in it."""
        values = [beat(made(finding, i, seconds=120.0), "II", 0.2, 0, rest=0.65) for i in PEOPLE]
        return float(np.mean([(v - np.median(v)) @ (v - np.median(v)) / len(v) for v in values]))

    assert before("atrial fibrillation") < 0.2 * before("sinus rhythm")
    f_waves = made("atrial fibrillation", 0)
    assert len(f_waves.rhythm.atrial) == 0
    assert 5 < f_waves.rhythm.fibrillation < 9


def test_flutter_waves_are_locked_to_the_beats() -> None:
    for index in PEOPLE:
        one = made("atrial flutter", index)
        ratio = rr(one, 0.3) * one.drawn["atrial_rate"] / 60
        assert 250 < one.drawn["atrial_rate"] < 330
        assert np.abs(ratio - ratio.round()).max() < 0.15
        if one.drawn["conduction"]:
            assert set(ratio.round()) == {one.drawn["conduction"]}
        power = np.abs(np.fft.rfft(lead(one, "aVF"))) ** 2
        frequencies = np.fft.rfftfreq(int(20 * RATE), 1 / RATE)
        near = np.abs(frequencies - one.rhythm.flutter) < 0.2
        around = (frequencies > 3.5) & (frequencies < 6.5)
        assert power[near].max() == power[around].max()


def p_onset(values: Any) -> float:
    """Seconds before the end where a P wave in (T,) reaches 1/20 of its height."""
    rising = values - np.quantile(values, 0.05)
    top = int(rising.argmax())
    first = np.flatnonzero(rising[:top] < 0.05 * rising[top])
    return (len(values) - (first[-1] if len(first) else 0)) / RATE


def test_pr_is_long_in_first_degree_block() -> None:
    for finding, low, high in (("sinus rhythm", 0.12, 0.2), ("first degree AV block", 0.2, 0.36)):
        for index in PEOPLE:
            one = made(finding, index)
            measured = p_onset(beat(one, "II", one.drawn["pr"] + 0.04, 0.0))
            assert measured == pytest.approx(one.drawn["pr"], abs=0.015)
            assert low < measured < high


def test_second_degree_blocks_drop_beats() -> None:
    for index in PEOPLE:
        one = made("Wenckebach AV block", index)
        waves = np.array([time for time, _ in one.rhythm.atrial])
        delays = [b.onset - waves[waves < b.onset].max() for b in one.rhythm.beats]
        found, cycle = rr(one), int(one.drawn["cycle"])
        long = np.flatnonzero(found > 1.3 * np.median(found)) if cycle > 3 else np.flatnonzero(found > found.mean())
        assert set(np.diff(long)) == {cycle - 1}, "one in each cycle"
        steps = np.diff(delays)
        assert (steps[steps < 0] < -0.05).all()
        assert sum(steps < 0) == pytest.approx(len(delays) / (cycle - 1), abs=1.1)
        two = made("Mobitz II AV block", index)
        waves = np.array([time for time, _ in two.rhythm.atrial])
        delays = [b.onset - waves[waves < b.onset].max() for b in two.rhythm.beats]
        assert np.ptp(delays) < 1e-9
        found = rr(two)
        assert found.max() / found.min() == pytest.approx(2, abs=0.25)
        assert sum(found > 1.5 * found.min()) >= 3


def test_complete_block_leaves_atria_and_ventricles_alone() -> None:
    for index in PEOPLE:
        one = made("third degree AV block", index)
        waves = np.array([time for time, _ in one.rhythm.atrial])
        since = np.array([b.onset - waves[waves < b.onset].max() for b in one.rhythm.beats if b.onset > 0])
        assert since.std() > 0.08, "no P wave belongs to a beat"
        assert 25 < 60 / rr(one).mean() < 56
        assert rr(one).std() < 0.05
        assert 60 / np.diff(waves).mean() > 60


def qrs_width(one: SimulatedEcg) -> float:
    """s: of the mean beat, where its spatial velocity is 6 % of its largest and more, with no rest of 12 ms between."""
    names = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    mean = np.stack([beat(one, name, 0.03, 0.22) for name in names])
    speed = np.sqrt((np.diff(mean, axis=1) ** 2).sum(0))
    on, top = np.flatnonzero(speed > 0.06 * speed.max()), int(speed.argmax())
    parts = np.split(on, np.flatnonzero(np.diff(on) > 0.012 * RATE) + 1)
    own = next(part for part in parts if top in part)
    return (own[-1] - own[0] + 1) / RATE


@pytest.mark.parametrize(
    ("finding", "low", "high"),
    [
        ("sinus bradycardia", 0.06, 0.11),
        ("left bundle branch block", 0.12, 0.19),
        ("right bundle branch block", 0.115, 0.17),
        ("right ventricular hypertrophy", 0.06, 0.115),
    ],
)
def test_qrs_width(finding: str, low: float, high: float) -> None:
    for index in PEOPLE:
        one = made(finding, index)
        if "fibrillation" in one.findings[0]:
            continue
        assert low < qrs_width(one) < high
        assert qrs_width(one) == pytest.approx(one.drawn["qrs"], abs=0.03)


def test_shapes_of_the_blocks() -> None:
    for index in PEOPLE:
        left, right = made("left bundle branch block", index), made("right bundle branch block", index)
        v1 = beat(left, "V1", 0.0, 0.16)
        assert v1.min() < -0.6, "QS or rS"
        assert v1.max() < 0.3
        assert (beat(left, "V6", 0.0, 0.16).min()) > -0.15, "no Q, no S"
        assert beat(left, "V6", -0.25, 0.45).min() < -0.05, "T against the QRS"
        late = beat(right, "V1", -0.08, 0.13)
        assert late.max() > 0.3, "R'"
        assert beat(right, "V6", -0.08, 0.13).min() < -0.2, "a broad S"


def st_level(one: SimulatedEcg, name: str) -> float:
    """mV, 30 ms after the QRS's end over its onset."""
    mean = beat(one, name, 0.02, 0.3)
    zero = round(0.02 * RATE)
    return float(mean[zero + round((one.drawn["qrs"] + 0.03) * RATE)] - mean[zero - 3])


@pytest.mark.parametrize("territory", TERRITORIES)
@pytest.mark.parametrize("change", ["ST elevation", "ST depression"])
def test_st_level_by_territory(territory: str, change: str) -> None:
    for index in PEOPLE:
        one = made(f"{territory} {change}", index)
        if one.findings[0] == "atrial fibrillation":
            continue
        levels = {name: st_level(one, name) for name in STANDARD}
        sign = 1 if change == "ST elevation" else -1
        own = [sign * levels[name] for name in TERRITORIES[territory]]
        assert max(own) == pytest.approx(abs(one.drawn["st"]), abs=0.05)
        assert min(own) > 0.02
        assert abs(st_level(made("sinus rhythm", index), "V5")) < 0.05, "and none without"


@pytest.mark.parametrize("territory", TERRITORIES)
def test_t_inversion_by_territory(territory: str) -> None:
    tallest = {"anterior": "II", "inferior": "V5", "lateral": "V2"}[territory]
    for index in PEOPLE:
        one = made(f"{territory} T wave inversion", index)
        if one.findings[0] == "atrial fibrillation":
            continue
        lowest = [beat(one, name, -0.18, 0.42).min() for name in TERRITORIES[territory]]
        assert min(lowest) == pytest.approx(one.drawn["t"], abs=0.05)
        assert max(lowest) < -0.015
        assert beat(one, tallest, -0.18, 0.42).max() > 0.03


def test_voltages_of_hypertrophy() -> None:
    sums = {}
    for finding in ("sinus rhythm", "left ventricular hypertrophy"):
        ones = [made(finding, index) for index in PEOPLE]
        beats = [{name: beat(one, name, 0.0, 0.1) for name in ("V1", "V5", "V6")} for one in ones]
        sums[finding] = [-b["V1"].min() + max(b["V5"].max(), b["V6"].max()) for b in beats]
    assert max(sums["sinus rhythm"]) < 3.4
    assert min(sums["left ventricular hypertrophy"]) > 3.5
    for index in PEOPLE:
        one = made("right ventricular hypertrophy", index)
        v1, first = beat(one, "V1", 0.0, 0.1), beat(one, "I", 0.0, 0.1)
        assert v1.max() > max(0.6, -v1.min())
        assert -first.min() > first.max(), "right axis"
    waves = (Wave(0.05, 0.01, (1.0, 0.0, 1.0)),)
    assert sokolow(waves, 0.1) == pytest.approx(0.515 + 0.917 + 1.061, abs=1e-3)
    assert voltages(waves, 0.1)["II"].max() == pytest.approx(0.103, abs=1e-3)


@pytest.mark.parametrize("kind", ["premature atrial contraction", "premature ventricular contractions"])
def test_premature_beats_come_early(kind: str) -> None:
    for index in PEOPLE:
        one = made(kind, index)
        if one.findings[0] == "atrial fibrillation":
            continue
        onsets = np.array([b.onset for b in one.rhythm.beats if 0 < b.onset < 20])
        gaps = np.diff(onsets)
        early = np.flatnonzero(gaps[:-1] < 0.8 * np.median(gaps))
        assert len(early) == one.drawn["premature"] >= 1
        measured = rr(one)
        assert sum(measured < 0.83 * np.median(measured)) == len(early)
        after = (gaps[early] + gaps[early + 1]) / np.median(gaps)
        if "ventricular" in kind:
            assert after == pytest.approx(2, abs=0.15), "a compensatory pause"
        else:
            assert (after < 1.95).all(), "the sinus node is set back"


def test_arm_electrodes_reversed() -> None:
    for index in PEOPLE:
        one = made("arm electrode reversal", index)
        seen, true = one.signal.data.double().numpy(), one.clean
        swapped = [-true[0], true[2], true[1], true[4], true[3], *true[5:]]
        assert np.allclose(seen, swapped, atol=1e-5)


def test_a_pacemaker_spikes_before_its_beats() -> None:
    one = made("paced rhythm", 0)
    jumps = np.abs(np.diff(lead(one, "II"), n=2))
    at = find_peaks(jumps, height=0.3 * jumps.max(), distance=100)[0] / RATE
    onsets = np.array([b.onset for b in one.rhythm.beats if 0.05 < b.onset < 19.9])
    assert len(at) == pytest.approx(len(onsets), abs=1)
    assert np.abs(at[:, None] - onsets + 0.006).min(1).max() < 0.01


def test_noise_is_as_asked() -> None:
    quiet, loud = made("sinus rhythm", 0), made("sinus rhythm", 0, 2.0)
    assert np.allclose(quiet.signal.data.numpy(), quiet.clean, atol=1e-6)
    assert np.array_equal(quiet.clean, loud.clean)
    rest = np.diff(loud.signal.data[1].double().numpy() - loud.clean[1])
    assert rest.std() == pytest.approx(2 * loud.drawn["noise"], rel=0.35), "two electrodes, two samples"
    slow = simulate_ecg(5, 0, findings=["sinus rhythm"], rate=100, noise=1.0)
    assert slow.signal.data.shape == (12, 1000)


def test_equal_seed_and_index_give_equal_recordings() -> None:
    for index in (0, 7, 26):
        one, two = (simulate_ecg(3, index, rate=250) for _ in range(2))
        assert np.array_equal(one.signal.data, two.signal.data)
        assert (one.text, one.labels, one.drawn) == (two.text, two.labels, two.drawn)
        other = simulate_ecg(4, index, rate=250)
        assert not np.array_equal(one.signal.data, other.signal.data)
    coarse, fine = (simulate_ecg(3, 2, rate=rate, noise=0) for rate in (250, 500))
    assert np.allclose(coarse.clean, fine.clean[:, ::2], atol=1e-9), "one heart, whatever the rate"


SAYS = {
    "normal ECG": r"sinus",
    "sinus rhythm": r"sinus rhythm|rhythm is sinus",
    "sinus bradycardia": r"bradycardia",
    "sinus tachycardia": r"tachycardia",
    "sinus arrhythmia": r"sinus arrhythmia",
    "atrial fibrillation": r"atrial fibrillation",
    "atrial flutter": r"atrial flutter",
    "first degree AV block": r"first.degree|prolonged pr",
    "second degree AV block": r"second.degree",
    "Mobitz type I AV block": r"mobitz type i\b",
    "Mobitz type II AV block": r"mobitz type ii\b",
    "third degree AV block": r"third.degree|complete \(third degree\)",
    "pacing rhythm": r"paced|pacing|pacemaker",
    "left bundle branch block": r"left bundle|lbbb",
    "right bundle branch block": r"right bundle|rbbb",
    "premature atrial contraction": r"premature atrial|atrial premature",
    "premature ventricular contractions": r"premature ventricular|ventricular premature",
    "left ventricular hypertrophy": r"left ventricular hypertrophy|lvh",
    "right ventricular hypertrophy": r"right ventricular hypertrophy|rvh",
    "arm electrode reversal": r"reversed|reversal",
    "ST elevation": r"st (segment )?elevation",
    "ST depression": r"st (segment )?depression",
    "T wave inversion": r"t wave inversion|inverted t waves",
}


def test_reports_name_what_labels_say_and_deny_nothing_of_it() -> None:
    texts = set()
    for index in range(600):
        rng = np.random.default_rng(index)
        one = simulate_ecg(1, index, rate=100) if index < 60 else None
        if one is None:  # the report alone is quick
            from modalign.datasets.simulate.ecg.report import write_report

            findings = draw_findings(rng, list(FINDINGS)[index % len(FINDINGS)], 0.5)
            text, labels = write_report(rng, findings, {"heart_rate": 70, "pr": 0.16, "qrs": 0.09}), labels_of(findings)
        else:
            text, labels = one.text, one.labels
        sentences = [s.strip().lower() for s in re.split(r"(?<=\.) ", text)]
        found = " ".join(s for s in sentences if not s.startswith("no "))
        denied = " ".join(s for s in sentences if s.startswith("no "))
        for label, pattern in SAYS.items():
            if label in labels:
                assert re.search(pattern, found), (label, text)
                assert label == "normal ECG" or not re.search(pattern, denied), (label, text)
            elif label not in ("sinus rhythm", "normal ECG"):
                assert not re.search(pattern, found), (label, text)
        for label in labels:
            if label.split()[0] in TERRITORIES:
                assert re.search(label.split()[0], found), text
        assert "{" not in text
        texts.add(text)
    assert len(texts) > 450, "many wordings"
    assert any("no acute st changes" in text.lower() for text in texts)


def test_findings_that_would_hide_each_other_are_not_combined() -> None:
    assert not goes_with("left bundle branch block", "anterior ST elevation")
    assert not goes_with("atrial fibrillation", "premature atrial contraction")
    for index in range(400):
        names = draw_findings(np.random.default_rng(index), list(FINDINGS)[index % len(FINDINGS)], 0.9)
        assert of_part(names, "rhythm") == names[0]
        assert list(FINDINGS)[index % len(FINDINGS)] in names
        assert all(goes_with(a, b) for a in names for b in names if a != b)


def test_manifest(tmp_path: Path) -> None:
    path = write_simulated_ecg(tmp_path / "one", 40, 2, rate=200)
    again = write_simulated_ecg(tmp_path / "two", 40, 2, rate=200)
    assert path.read_text() == again.read_text()
    for name in ("0000000", "0000039"):
        files = [(tmp_path / folder / "signals" / f"{name}.npy").read_bytes() for folder in ("one", "two")]
        assert files[0] == files[1]
    ecg, text = get_modality("ecg"), get_modality("text")
    manifest = read_manifest(path, {"ecg": ecg, "text": text})
    assert len(manifest.rows) == 40
    assert {row.split for row in manifest.rows} == {"train", "val", "test"}
    assert len({row.group for row in manifest.rows}) == 40
    row = manifest.rows[16]
    signal = ecg.load(row.sources["ecg"], **row.fields["ecg"])
    made_again = simulate_ecg(2, 16, rate=200)
    assert (signal.channels, signal.rate) == (STANDARD, 200)
    assert np.allclose(signal.data, made_again.signal.data, atol=6e-4), "whole microvolts"
    assert row.labels == made_again.labels
    assert row.sources["text"] == (made_again.text,)
    sidecar = yaml.safe_load(path.with_name("manifest.meta.yaml").read_text())
    assert sidecar["about"].startswith("SYNTHETIC")
    assert manifest.take([0, 1]).synthetic, "which reports and model cards repeat"
    assert protocol_of(None, manifest, "test").startswith("SYNTHETIC")
    real = replace(manifest, synthetic=False)
    assert protocol_of({"labels": ["ST elevation"], "synthetic": True}, real, "test").startswith(
        "training on SYNTHETIC"
    )
    assert set(pd.read_csv(path)["source"]) == {"synthetic"}
    assert pd.read_csv(path)["id"].str.startswith("synthetic-").all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"findings": ["atrial fibrilation"]}, "did you mean 'atrial fibrillation'"),
        ({"seconds": 2}, "8 to 3600"),
        ({"rate": 20}, "100 to 2000"),
        ({"noise": -1}, "noise is 0"),
    ],
)
def test_refuses(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        write_simulated_ecg(tmp_path, 1, 0, **options)
    with pytest.raises(RecipeError, match="--number"):
        write_simulated_ecg(tmp_path, 0, 0)


def test_leads_of_one_electrode() -> None:
    alone = np.zeros((9, 1))
    alone[3] = 1
    assert leads_of(alone)[:, 0].tolist() == [0.0] * 6 + [1.0] + [0.0] * 5
