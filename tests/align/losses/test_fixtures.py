"""The values of every loss on the fixture, to 1e-5."""

import math

import pytest
import torch

from modalign.align.losses import compa, dcl, dclw, gram, mv_dhel, mv_infonce, negclip, symile
from modalign.align.losses.gap import align, uniform, xuniform
from modalign.align.losses.gist import Gist
from modalign.align.losses.gram import volumes
from modalign.align.losses.isogclr import ISogCLR, slope_of
from modalign.align.losses.m3col import mixed, soft_targets
from modalign.align.objective import Objective
from tests.align.losses.vectors import SCALE, Rows, X, Y, Z, unit

ROWS = torch.arange(3)


def normal(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


A = normal((1, 0, 0), (0, 1, 0), (1, 1, 1))
B = normal((1, 1, 0), (0, 1, 1), (0, 0, 1))
C = normal((1, 0, 1), (1, 2, 0), (1, 1, 0))
AWAY = math.degrees(math.acos(0.2))
SIMILAR_AT_02 = torch.stack([unit(a + AWAY, a - AWAY) for a in (0, 60, 90)])
ONE_EACH, TWO_EACH = torch.ones(3, 1, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool)

VALUES = [
    ("align", lambda: align(X, Y), 0.755983),
    ("uniform", lambda: uniform(X, Y), -1.515328),
    ("xuniform", lambda: xuniform(X, Y), -1.424501),
    ("dcl x2y", lambda: dcl(X, Y, SCALE, direction="x2y"), 1.175632),
    ("dcl y2x", lambda: dcl(X, Y, SCALE, direction="y2x"), 0.544881),
    ("dcl both", lambda: dcl(X, Y, SCALE), (1.175632 + 0.544881) / 2),
    ("dcl cross", lambda: dcl(X, Y, SCALE, direction="x2y", intra_negatives=False), 0.412119),
    ("dclw", lambda: dclw(X, Y, SCALE, direction="x2y"), 1.681316),
    ("mv_infonce 3", lambda: mv_infonce([X, Y, Z], SCALE), 0.828512),
    ("mv_infonce 3 cross", lambda: mv_infonce([X, Y, Z], SCALE, denominator="cross"), 0.630785),
    ("mv_infonce 2", lambda: mv_infonce([X, Y], SCALE), 1.441679),
    ("mv_infonce 2 cross", lambda: mv_infonce([X, Y], SCALE, denominator="cross"), 1.020914),
    ("mv_dhel 3", lambda: mv_dhel([X, Y, Z], SCALE), 1.004899),
    ("mv_dhel 2", lambda: mv_dhel([X, Y], SCALE), 1.517174),
    ("symile", lambda: symile([X, Y, Z], SCALE), 1.784590),
    ("gram", lambda: gram([A, B, C], SCALE), 0.819120),
    ("gist", lambda: Gist()(X, Y, SCALE, ROWS), 1.140119),
    ("compa", lambda: compa(X, Y, SCALE, None, SIMILAR_AT_02, TWO_EACH), 1.015651),
    ("negclip", lambda: negclip(X, Y, SCALE, None, unit(100, 0, 60).unsqueeze(1), ONE_EACH), 1.297310),
    ("m3col soft", lambda: soft_targets(X, Y, 0.125), 1.735729),
    ("m3col soft, equal", lambda: soft_targets(Y, Y, 0.125), 0.378601),
]


@pytest.mark.parametrize(("value", "expected"), [v[1:] for v in VALUES], ids=[v[0] for v in VALUES])
def test_value(value, expected):
    assert value().item() == pytest.approx(expected, abs=1e-5)


def test_m3col_mixture():
    share = torch.tensor([0.7, 1.0, 0.4], dtype=torch.float64)
    rows, columns = mixed(X, Y, share, torch.tensor([1, 2, 0]), 0.1)
    assert rows.item() == pytest.approx(2.891740, abs=1e-5)
    assert columns.item() == pytest.approx(1.237986, abs=1e-5)


def test_gram_volumes():
    assert volumes(A, [B, C])[0].tolist() == pytest.approx([0.5, 0.632456, 0.707107], abs=1e-6)


def test_isogclr_first_step():
    loss = ISogCLR(init=0.5, rho=6.0)
    loss.start(Rows(rows=3))
    loss.double()
    similar, negative = X @ Y.T, ~torch.eye(3, dtype=torch.bool)
    h = similar - similar.diagonal().unsqueeze(1)
    p = loss._weights("x", h, ROWS, negative)
    each = (p * h).sum(1)
    assert each.tolist() == pytest.approx([-0.437164, -0.217450, 0.747161], abs=1e-5)
    assert each.mean().item() == pytest.approx(0.030849, abs=1e-5)
    sums = loss.s_x * loss.b_x.exp()  # at no shift
    assert sums.tolist() == pytest.approx([0.504865, 0.814734, 8.370516], abs=1e-5)
    slope = slope_of(loss.s_x, loss.b_x, p, h / 0.5 * negative, torch.full((3,), 2), 6.0)
    assert slope.tolist() == pytest.approx([5.497718, 5.536859, 5.937247], abs=1e-5)
    assert loss.u_x.tolist() == pytest.approx([0.9 * 5] * 3)  # clipped
    assert loss.tau_x.tolist() == pytest.approx([0.5 - 0.03 * 4.5] * 3)


def test_a_sum_over_anchored_pairs():
    """MoRE's: text with X-ray and text with ECG."""
    from modalign.align.config import LossConfig, Pair
    from modalign.align.model import AlignmentOutput

    pairs = [Pair(a="text", b="xray"), Pair(a="text", b="ecg")]
    same = {"index": (ROWS, ROWS), "groups": None, "rows": ROWS, "size": 3, "weight": 1.0}
    batch = {"pairs": [{"a": pair.a, "b": pair.b, "towers": (pair.a, pair.b), **same} for pair in pairs]}
    output = AlignmentOutput({"text": X, "xray": Y, "ecg": Z}, SCALE)
    assert Objective(LossConfig(), pairs)(output, batch, 0.0).item() == pytest.approx(1.533991, abs=1e-5)
