"""`Modality.plot`: every modality draws its signals, and relevance in the signal's units over them."""

import numpy as np
import pytest
import torch

from modalign.modalities import drawing, get_modality
from modalign.modalities.base import Signal
from modalign.modalities.ct.plot import as_read, chosen_slices, plot_ct, window_of
from modalign.modalities.ecg.leads import STANDARD
from modalign.modalities.ecg.plot import ROOM, SPEED, layout, paper_inches, plot_ecg, shown_seconds
from modalign.modalities.registry import BUILT_IN

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

JOINTS = ("head", "pelvis", "left_wrist", "right_wrist")
WORN = tuple(f"{joint}/{sensor}_{axis}" for joint in JOINTS for sensor in ("acc", "gyro") for axis in "xyz")


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


CASES = {
    "audio": [(Signal(noise(1, 8000) * 0.1, 8000.0, ("mono",)), [(8000,), (1, 40), (32, 40)])],
    "motion": [
        (Signal(noise(6, 200), 50.0, ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")), [(6, 200), (20,)]),
        (Signal(noise(24, 200), 50.0, WORN), [(24, 20), (7,)]),
    ],
    "ecg": [
        (Signal(noise(12, 1000), 100.0, STANDARD), [(12, 1000), (20,)]),
        (Signal(noise(2, 3000), 100.0, ("II", "V5")), [(2, 30), (3000,)]),
    ],
    "xray": [(Signal(noise(1, 40, 30).abs().clamp(0, 1), None, ("grey",)), [(40, 30), (1, 7, 7)])],
    "ct": [
        (Signal(noise(1, 20, 24, 16) * 300, None, ("HU",), {"unit": "HU", "spacing": (1.0, 1.0, 3.0)}),
         [(20, 24, 16), (1, 4, 4, 4)]),
        (Signal(noise(1, 8, 8, 2), None, ("value",), {"unit": "none"}), [(8, 8, 2)]),
    ],
    "text": [(Signal(torch.zeros(0), meta={"text": "a low tone is heard, $not$ high"}), [(31,)])],
    "tone": [(Signal(noise(1, 90), 100.0, ("tone",)), [(90,), (1, 9)])],
}  # fmt: skip


def drawn(draw, signal, relevance=None, inches=(6, 4)):
    """Pixels (H, W, 3) of a drawing."""
    figure = Figure(figsize=inches, dpi=50)
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0.05, 0.1, 0.9, 0.85))
    draw(signal, ax, relevance)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int), ax


@pytest.mark.parametrize("name", sorted({*BUILT_IN, *CASES}))
def test_every_modality_draws_its_signals_and_relevance_over_them(name):
    modality = get_modality(name)
    for signal, shapes in CASES[name]:
        width, height = modality.plot_inches(signal)
        assert width > 0
        assert height > 0
        plain, _ = drawn(modality.plot, signal)
        assert plain.std() > 1
        for shape in shapes:
            zero, _ = drawn(modality.plot, signal, torch.zeros(shape))
            some = torch.zeros(shape)
            some[..., : max(1, shape[-1] // 2)] = 1.0
            shaded, _ = drawn(modality.plot, signal, some)
            redder = (shaded[..., 0] - shaded[..., 2]) - (zero[..., 0] - zero[..., 2])
            assert (redder > 40).mean() > 0.005, f"{name} does not show relevance of shape {shape}"
            against, _ = drawn(modality.plot, signal, -some)
            assert ((against[..., 2] - against[..., 0]) - (zero[..., 2] - zero[..., 0]) > 40).mean() > 0.005


@pytest.mark.parametrize(("name", "shape"), [("ecg", (5, 100)), ("motion", (4, 10)), ("text", (3,)), ("tone", (2, 9))])
def test_relevance_that_does_not_fit_is_refused(name, shape):
    with pytest.raises(ValueError, match="does not fit"):
        drawn(get_modality(name).plot, CASES[name][0][0], torch.zeros(shape))


def test_ecg_paper_has_true_proportions():
    signal = Signal(torch.zeros(12, 5000), 500.0, STANDARD)
    sheet = layout(signal)
    assert [(p.lead, p.row, p.left) for p in sheet.pieces[:4]] == [(0, 0, 0.0), (1, 1, 0.0), (2, 2, 0.0), (3, 0, 62.5)]
    assert (sheet.pieces[12].lead, sheet.pieces[12].row) == (1, 3)
    assert sheet.width == ROOM + 10 * SPEED
    assert paper_inches(signal)[0] == pytest.approx(260 / 25.4)
    _, ax = drawn(plot_ecg, signal)
    across = ax.transData.transform([(0, 0), (10, 0)])
    down = ax.transData.transform([(0, 0), (0, 10)])
    assert np.ptp(across[:, 0]) == pytest.approx(np.ptp(down[:, 1]))  # ten mm are as long as they are high
    one = torch.zeros(1, 1000)
    one[0, 500:510] = 1.0
    _, ax = drawn(plot_ecg, Signal(one, 100.0, ("II",)))
    traced = max(ax.lines, key=lambda part: len(part.get_xdata()))
    assert np.ptp(traced.get_ydata()) == pytest.approx(10)  # 1 mV is 10 mm
    assert traced.get_xdata()[500] - traced.get_xdata()[0] == pytest.approx(125)  # 5 s are 125 mm


def test_ecg_shows_the_ten_seconds_that_matter():
    signal = Signal(noise(1, 6000), 100.0, ("II",))
    relevance = torch.zeros(60)
    relevance[33] = 1.0
    assert shown_seconds(signal) == (0.0, 10.0)
    first, last = shown_seconds(signal, relevance)
    assert first <= 33
    assert last >= 34
    assert len(layout(Signal(noise(12, 500), 100.0, STANDARD)).pieces) == 12  # 5 s: no quarters, a row a lead


def test_ct_lies_as_it_is_read():
    volume = torch.zeros(3, 4, 5)
    volume[2, 3, 4] = 1.0  # right, front, head
    assert as_read(volume)[4, 0, 0] == 1.0  # the last slice, on top, on the left
    weights = np.zeros(36)
    weights[5] = 1
    assert chosen_slices(36, weights)[1] == 5
    hu = torch.full((1, 10, 10, 10), -1000.0)
    hu[:, 2:8, 2:8, 2:8] = 40.0
    body = Signal(hu, None, ("HU",), {"unit": "HU", "spacing": (1.0, 1.0, 1.0)})
    assert window_of(body) == "chest"
    hu[:, 2:8, 2:4, 2:8] = 1000.0
    assert window_of(body) == "brain"
    _, ax = drawn(plot_ct, body)
    assert "brain window, level 40, width 80 HU" in ax.get_xlabel()


def test_colours_say_for_and_against_and_how_much():
    painted = drawing.colours(torch.tensor([1.0, 0.5, 0.0, -1.0]))
    assert painted[0, 3] > painted[1, 3] > painted[2, 3] == 0
    assert painted[0, 0] > painted[0, 2]
    assert painted[3, 2] > painted[3, 0]
    assert drawing.full_scale(torch.zeros(3)) == 1.0
    assert drawing.colour_scale(torch.tensor([0.0, 2.0])).norm.vmin == 0
    assert drawing.colour_scale(torch.tensor([-1.0, 2.0])).norm.vmin < 0


def test_spikes_are_drawn_as_what_is_left_of_them_over_a_cell():
    spikes = np.zeros((2, 1000))
    spikes[0, 500], spikes[0, 501], spikes[1, 900] = 5.0, -5.0, 10.0
    cells = drawing.coarse(spikes, 100)
    assert cells.shape == (2, 100)
    assert not cells[0].any()
    assert cells[1].nonzero()[0].tolist() == [90]
    assert cells[1, 90] == 1.0
    assert drawing.coarse(np.ones((3, 7, 5)), 4, 9).shape == (3, 4, 5)


def test_real_files_are_drawn(real_data):
    sources = {
        "audio": (next(real_data.glob("audio_esc10/*/*.ogg")), {}),
        "ecg": (real_data / "ecg_ptbxl500/records100/00000/00001_lr.hea", {}),
        "xray": (next(real_data.glob("cxr_hannover24/png/*.png")), {}),
        "ct": (real_data / "ct_dicom/ge_head_series", {"resample": True}),
    }
    for name, (source, fields) in sources.items():
        modality = get_modality(name)
        pixels, _ = drawn(modality.plot, modality.load(source, **fields))
        assert pixels.std() > 5
