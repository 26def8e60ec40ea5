"""Tokens to places, and each processing's way back from its inputs to the signal."""

import math

import numpy as np
import pytest
import torch

from modalign.errors import ModelError
from modalign.modalities import get_modality
from modalign.modalities.audio.plot import mel_axis
from modalign.modalities.base import Processing, Signal
from modalign.modalities.ecg.leads import STANDARD
from modalign.modalities.spans import (
    default_cells,
    grid_spans,
    lay,
    mean_rows,
    one_row,
    redistribute,
    spread,
    with_special,
)

MOTION = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")


def test_patches_stand_where_they_are_cut():
    image = torch.arange(2 * 4 * 6).float().view(2, 4, 6)
    spans = grid_spans((2, 4, 6), (2, 2, 3))
    patches = image.unfold(1, 2, 2).unfold(2, 3, 3).permute(1, 2, 0, 3, 4).flatten(0, 1)
    for box, patch in zip(spans.int().tolist(), patches):
        assert torch.equal(image[tuple(slice(*side) for side in box)], patch)
    columns = grid_spans((1, 4, 6), (1, 2, 3), order=(0, 2, 1))  # down each column first
    assert columns[1].tolist() == [[0, 1], [2, 4], [0, 3]]
    overlapping = grid_spans((1, 10), (1, 4), (1, 3))
    assert overlapping[:, 1].tolist() == [[0, 4], [3, 7], [6, 10]]
    assert torch.isnan(with_special(spans, 1)[0]).all()
    assert one_row(4, 0).tolist() == [1, 0, 0, 0]
    assert mean_rows(torch.tensor([True, True, False])).tolist() == [0.5, 0.5, 0]


def test_spreading_keeps_the_sum_and_leaves_out_what_stands_for_nothing():
    spans = with_special(grid_spans((2, 10), (2, 4), (2, 3)), 1)
    relevance = torch.tensor([9.0, 1.0, 0.0, 2.0])
    out = spread(relevance, spans, (2, 10))
    assert float(out.sum()) == pytest.approx(3.0)
    assert out[0, :4].tolist() == [0.125] * 4
    assert not out[:, 4:6].any()
    saliency = torch.zeros(2, 10)
    saliency[1, :4], saliency[0, 8] = 1.0, 2.0
    shared = spread(relevance, spans, (2, 10), saliency)  # a lead that tells nothing gets nothing
    assert float(shared.sum()) == pytest.approx(3.0)
    assert float(shared[1, :4].sum()) == pytest.approx(1.0)
    assert float(shared[0, 6:].sum()) == pytest.approx(2.0)


@pytest.mark.parametrize(("n", "count"), [(7, 20), (20, 7), (5, 5)])
def test_laying_over_another_grid_keeps_the_sum(n, count):
    values = torch.rand(2, n, generator=torch.Generator().manual_seed(1))
    out = lay(values, 0, count, count)
    assert out.sum(1).tolist() == pytest.approx(values.sum(1).tolist())
    assert (out >= -1e-7).all()
    edge = lay(values, -count / n, count - count / n, count)  # the first cell lies outside
    assert edge.sum(1).tolist() == pytest.approx((values.sum(1) - values[:, 0]).tolist(), abs=1e-5)
    uneven = redistribute(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0, 3.0]), 3)
    assert uneven.tolist() == pytest.approx([1.0, 0.5, 0.5])


def test_cells_fit_the_number_of_axes():
    assert default_cells((30,)) == (1,)
    assert default_cells((3200,)) == (100,)
    assert default_cells((66, 200)) == (3, 7)
    assert default_cells((1, 64, 64, 64)) == (1, 8, 8, 8)


def spot(shape, *place):
    out = torch.zeros(shape)
    out[place] = 1.0
    return out


def test_ecg_windows_leads_and_the_rate_go_back():
    modality = get_modality("ecg")
    signal = Signal(torch.randn(2, 12_000, generator=torch.Generator().manual_seed(0)), 500.0, ("II", "V2"))
    process = modality.build_processing(rate=100, seconds=10, hop=10)
    assert len(process.segments(signal)) == 3
    parts = [torch.zeros(12, 1000) for _ in range(3)]
    parts[1][STANDARD.index("V2"), 300] = 1.0  # 13 s
    parts[2][STANDARD.index("II"), 999] = 2.0  # the end of the last window, which ends with the recording
    back = process.restore(parts, signal)
    assert back.shape == signal.data.shape
    assert back[1].nonzero().flatten().tolist() == list(range(6500, 6505))
    assert back[0].nonzero().flatten().tolist() == list(range(11_995, 12_000))
    assert float(back.sum()) == pytest.approx(3.0)


def test_ecg_derived_leads_go_to_those_they_came_from_and_the_mask_of_leads_is_left_out():
    modality = get_modality("ecg")
    signal = Signal(torch.randn(2, 1000, generator=torch.Generator().manual_seed(0)), 100.0, ("I", "II"))
    process = modality.build_processing(rate=100, seconds=10, derive=True, lead_mask=True)
    part = spot((24, 1000), STANDARD.index("aVF"), 500) + spot((24, 1000), 20, 3)
    back = process.restore([part], signal)
    assert back[:, 500].tolist() == [0.5, 0.5]
    assert float(back.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given", "at", "where"),
    [
        ({"window": 2.0, "hop": 2.0}, 10, [20, 21]),
        ({"window": 2.0}, 10, [250, 251]),  # the window about the middle: 115 of 330 samples before it
        ({"window": 10.0, "short": "wrap"}, 330 + 5, [10, 11]),  # begun again
        ({"window": 10.0, "short": "zero"}, 329, [658, 659]),
    ],
)
def test_motion_windows_channels_and_the_rate_go_back(given, at, where):
    modality = get_modality("motion")
    signal = Signal(torch.randn(6, 660, generator=torch.Generator().manual_seed(0)), 100.0, MOTION[::-1])
    process = modality.build_processing(rate=50, **given)
    items = [process(window) for window in process.segments(signal)]
    parts = [torch.zeros_like(item["values"]) for item in items]
    parts[0][MOTION.index("acc_y"), at] = 1.0
    back = process.restore(parts, signal)
    assert back[signal.channels.index("acc_y")].nonzero().flatten().tolist() == where
    assert float(back.sum()) == pytest.approx(1.0)


def test_motion_joints_go_back_to_the_device_that_stands_for_them():
    modality = get_modality("motion")
    encoder = modality.build_encoder("stgcn", widths=[8], strides=[1])
    signal = Signal(torch.zeros(3, 200), 20.0, ("acc_x", "acc_y", "acc_z"), {"location": "pocket"})
    process = modality.build_processing(**{**encoder.processing_defaults(), "placement": "motionsense"})
    part = torch.zeros(66, 200)
    for joint in ("right_hip", "left_hip"):
        part[process.channels.index(f"{joint}/acc_z"), 50] = 1.0
    part[process.channels.index("head/acc_z"), 10] = 1.0  # a joint without a device
    back = process.restore([part], signal)
    assert float(back[2, 50]) == pytest.approx(2.0)
    assert float(back.sum()) == pytest.approx(2.0)


@pytest.mark.parametrize("encoder", ["logmel", "clap", "fbank", "whisper", "msclap2023"])
@pytest.mark.parametrize("seconds", [3.0, 12.0])
def test_audio_a_tone_comes_back_at_its_second_and_frequency(encoder, seconds):
    """What the front end shows of a burst is where the drawing shows the burst, whatever was filled or cut."""
    modality = get_modality("audio")
    rate, at, hertz = 16_000, 0.7 * seconds, 2000.0
    t = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * hertz * t) * np.exp(-(((t - at) / 0.05) ** 2))
    wave += 1e-5 * np.random.default_rng(0).normal(size=len(t))
    signal = Signal(torch.tensor(wave, dtype=torch.float32)[None], float(rate), ("mono",))
    process = modality.build_processing(frontend=encoder)
    parts = []
    for window in process.segments(signal):
        values = process.collate([process(window)])["values"][0].double()
        parts.append(values.exp() if encoder == "fbank" else 10 ** (values * (4 if encoder == "whisper" else 0.1)))
    loudest = max(float(part.max()) for part in parts)
    back = process.restore([(part / loudest).float() for part in parts], signal)
    assert back.shape[0] == 64
    row, column = divmod(int(back.argmax()), back.shape[1])
    assert (column + 0.5) / back.shape[1] * seconds == pytest.approx(at, abs=0.06)
    assert mel_axis(rate, 64)[row] == pytest.approx(hertz, rel=0.08)


def test_audio_fusion_and_waveforms_go_back():
    modality = get_modality("audio")
    signal = Signal(torch.randn(1, 48_000 * 15, generator=torch.Generator().manual_seed(0)), 48_000.0, ("mono",))
    fusion = modality.build_processing(frontend="clap", longer="fusion")
    values = fusion.collate([fusion(signal)])["values"][0]
    assert values.shape == (4, 1001, 64)
    for view, second in ((0, 7.5), (1, 0.8 + 5.0), (3, 4.2 + 5.0)):  # the whole; the front and the back third's middle
        back = fusion.restore([spot((4, 1001, 64), view, 500, 30)], signal)
        column = int(back.sum(0).argmax())
        assert (column + 0.5) / back.shape[1] * 15 == pytest.approx(second, abs=0.1)
    wave = modality.build_processing(frontend="waveform", seconds=5)
    slow = Signal(signal.data[:, : 8000 * 7], 8000.0, ("mono",))  # 7 s: windows from 0 and from 2 s, at 16 kHz
    back = wave.restore([torch.zeros(80_000), spot((80_000,), 16_000)], slow)
    assert back.shape == slow.data.shape
    assert int(back.argmax()) == 8000 * 3


def test_xray_padding_is_left_out_and_pixels_come_back():
    modality = get_modality("xray")
    signal = Signal(torch.rand(1, 300, 150), None, ("grey",))
    process = modality.build_processing(size=64, channels=3, mean=(0.5,), std=(0.2,))
    back = process.restore([spot((3, 64, 64), slice(None), 10, 16 + 20) + spot((3, 64, 64), 0, 5, 2)], signal)
    assert back.shape == signal.data.shape
    row, column = divmod(int(back.argmax()), 150)
    assert (row / 300, column / 150) == (pytest.approx(10.5 / 64, abs=0.02), pytest.approx(20.5 / 32, abs=0.02))
    assert float(back.sum()) == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        {"shape": (16, 16, 16)},
        {"shape": (40, 40, 40)},
        {"shape": (16, 16, 16), "larger": "random"},
        {"spacing": (2.0, 2.0, 2.0)},
        {"spacing": (2.0, 2.0, 2.0), "foreground": -500.0, "margin": 2.0, "shape": (14, 14, 14)},
        {"shape": (12, 12, 12), "sizing": "resize"},
        {"mode": "slices", "shape": (16, 16)},
        {"mode": "slices", "shape": (16, 16), "slices": 4},
    ],
)
def test_ct_a_bright_spot_comes_back_to_its_voxels(given):
    """What a processing makes of a bright spot, taken for relevance, lies where the spot is in the source."""
    modality = get_modality("ct")
    data = torch.full((1, 24, 22, 20), -1000.0)
    data[0, 3:22, 3:20, 3:18] = 0.0
    chosen = slice(12, 13) if given.get("slices") else slice(10, 14)  # one of the four slices that are taken is 12
    data[0, 13:17, 7:11, chosen] = 3000.0
    signal = Signal(data, None, ("HU",), {"unit": "HU", "spacing": (1.0, 1.0, 1.0)})
    process = modality.build_processing(range=(0, 3000), **given)
    parts = [process(window)["values"] for window in process.segments(signal)]
    back = process.restore(parts, signal)[0]
    assert back.shape == data.shape[1:]
    weights = back / back.sum()
    places = [weights.movedim(axis, 0).flatten(1).sum(1) for axis in range(3)]
    centre = [float((place * torch.arange(len(place))).sum()) for place in places]
    assert centre[:2] == [pytest.approx(14.5, abs=0.3), pytest.approx(8.5, abs=0.3)]
    assert centre[2] == pytest.approx(sum((chosen.start, chosen.stop - 1)) / 2, abs=0.3)
    if "random" not in given.values():
        assert float(back.sum()) == pytest.approx(sum(float(part.sum()) for part in parts), rel=1e-4)


def test_text_characters_take_the_relevance_of_their_token(text_checkpoint):
    from transformers import AutoTokenizer

    signal = get_modality("text").load("a low tone is heard")
    for prefix, before in (("", 0), ("sound of ", 2)):
        process = get_modality("text").build_processing(tokenizer=str(text_checkpoint), prefix=prefix)
        ids = process(signal)["input_ids"]
        relevance = torch.zeros(len(ids))
        relevance[0], relevance[2 + before], relevance[-1] = 9.0, 1.0, 9.0  # [CLS], "low", [SEP]
        back = process.restore([relevance], signal)
        assert back.tolist() == [1.0 if 2 <= i < 5 else 0.0 for i in range(len(signal.meta["text"]))]
        assert (process.blank(ids) == AutoTokenizer.from_pretrained(text_checkpoint).pad_token_id).all()


def test_text_without_offsets_is_refused(text_checkpoint, monkeypatch):
    from modalign.modalities.text import processing

    class Slow:
        def __call__(self, text, **options):
            if options.get("return_offsets_mapping"):
                raise NotImplementedError("slow")
            return {"input_ids": [0]}

    monkeypatch.setattr(processing, "_tokenizer", lambda source: Slow())
    process = get_modality("text").build_processing(tokenizer="slow")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        process.restore([torch.zeros(1)], get_modality("text").load("a tone"))


def test_a_plugin_has_a_way_back_without_a_word():
    class Halves(Processing):
        def __call__(self, signal):
            return {"values": signal.data}

        def segments(self, signal):
            return [Signal(signal.data[:, :50], signal.rate), Signal(signal.data[:, 50:], signal.rate)]

    signal = Signal(torch.zeros(2, 100), 10.0, ("a", "b"))
    back = Halves().restore([spot((2, 50), 1, 5), spot((3, 25), 0, 0)], signal)  # another number of rows: all alike
    assert back.shape == (1, 100)
    back = Halves().restore([spot((2, 50), 1, 5), spot((2, 25), 0, 0)], signal)
    assert back.nonzero().tolist() == [[0, 50], [0, 51], [1, 5]]
    assert math.isclose(float(back.sum()), 2.0, rel_tol=1e-5)


def test_blank_is_what_a_processing_takes_for_nothing():
    audio = get_modality("audio")
    values = torch.rand(2, 1, 5, 64) - 50
    assert torch.equal(audio.build_processing(frontend="clap").blank(values)[1], values[1].min().expand(1, 5, 64))
    assert not audio.build_processing(frontend="fbank").blank(values).any()
    assert not audio.build_processing(frontend="waveform").blank(torch.rand(1, 9)).any()
    xray = get_modality("xray")
    image = torch.rand(2, 1, 8, 8)
    assert float(xray.build_processing().blank(image)[0, 0, 0, 0]) == pytest.approx(float(image[0].mean()))
    assert not xray.build_processing(mean=(0.5,), std=(0.2,)).blank(image).any()
    ct = get_modality("ct").build_processing(mean=(0.5,), std=(0.25,))
    assert (ct.blank(torch.rand(1, 1, 4, 4, 4)) == -2.0).all()
