"""Each loss at its stated limit: InfoNCE, or what the paper says it becomes."""

import math

import pytest
import torch

from modalign import RecipeError
from modalign.align.losses import (
    Clap,
    Gist,
    ISogCLR,
    ProtoClip,
    compa,
    compa_modular,
    dcl,
    dclw,
    gram,
    infonce,
    mv_dhel,
    mv_infonce,
    negclip,
    symile,
)
from modalign.align.losses.gap import align, uniform, xuniform
from modalign.align.losses.isogclr import slope_of
from modalign.align.losses.m3col import mixed, soft_targets
from modalign.align.losses.targets import same_item, shares
from tests.align.losses.vectors import SCALE, Rows, X, Y, Z, random_rows

GROUPS = torch.tensor([[0], [1], [0]])
ROWS = torch.arange(3)
NONE = torch.zeros(3, 1, dtype=torch.bool)


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("loss", [compa, negclip, compa_modular])
def test_without_further_captions_it_is_infonce(loss, groups):
    expected = infonce(X, Y, SCALE, groups)
    torch.testing.assert_close(loss(X, Y, SCALE, groups), expected)
    torch.testing.assert_close(loss(X, Y, SCALE, groups, Z.unsqueeze(1), NONE), expected)  # none is there
    far = -X.unsqueeze(1)  # wrong captions as far away as can be, at a scale that makes it far
    torch.testing.assert_close(loss(X, Y, 50 * SCALE, groups, far, ~NONE), infonce(X, Y, 50 * SCALE, groups))


def test_modular_takes_the_mean_over_a_rows_true_captions():
    parts, mask = torch.stack([Y, Z], 1), torch.tensor([[True, False], [True, True], [False, False]])
    value = compa_modular(X, Y, SCALE, None, None, None, parts, mask)
    logits = SCALE * X @ Y.T
    rows, columns = [], []
    for i in range(3):
        true = [Y[i], *(parts[i, k] for k in range(2) if mask[i, k])]
        others = [logits[i, j] for j in range(3) if j != i]
        own = [SCALE * X[i] @ caption for caption in true]
        below = torch.stack([*own, *others]).logsumexp(0)
        rows.append(torch.stack([below - one for one in own]).mean())
        columns.append(torch.stack([(SCALE * X @ c).logsumexp(0) - SCALE * X[i] @ c for c in true]).mean())
    torch.testing.assert_close(value, (torch.stack(rows).mean() + torch.stack(columns).mean()) / 2)


def test_dcl_is_the_inverse_softplus_of_infonce_by_item():
    by_item = (SCALE * X @ Y.T).log_softmax(1).diagonal().neg()  # InfoNCE of each item, other towers' negatives
    s = SCALE * X @ Y.T
    decoupled = s.masked_fill(torch.eye(3).bool(), -torch.inf).logsumexp(1) - s.diagonal()
    torch.testing.assert_close(torch.nn.functional.softplus(decoupled), by_item)
    torch.testing.assert_close(dcl(X, Y, SCALE, direction="x2y", intra_negatives=False), decoupled.mean())


def test_dcl_does_not_couple_the_positive():
    positive = (X * Y).sum(1)
    x, y = X.clone().requires_grad_(), Y.clone()
    (grad,) = torch.autograd.grad(dcl(x, y, SCALE, direction="x2y", intra_negatives=False), x)
    p = (SCALE * X @ Y.T).masked_fill(torch.eye(3).bool(), -torch.inf).softmax(1)
    torch.testing.assert_close(grad, SCALE / 3 * (p @ Y - Y))  # the positive's own part is exactly -1/N
    weights = 2 - 3 * (positive / 0.5).softmax(0)
    assert weights.sum().item() == pytest.approx(3)
    assert weights.tolist() == pytest.approx([0.792369, 0.421287, 1.786344], abs=1e-6)
    torch.testing.assert_close(dclw(X, Y, SCALE, sigma=1e9), dcl(X, Y, SCALE))


def test_gap_terms():
    eye = torch.eye(4)
    assert align(eye, eye).item() == 0
    assert uniform(eye, eye).item() == pytest.approx(-4, abs=1e-6)
    assert xuniform(eye, eye).item() == pytest.approx(-4, abs=1e-6)
    same = torch.ones(4, 1)
    assert uniform(same, same).item() == 0


def test_the_gap_terms_are_what_diagnostics_measures():
    from modalign.align import diagnostics

    x, y = random_rows(9, seed=1), random_rows(9, seed=2)
    assert align(x, y).item() == pytest.approx(diagnostics.alignment(x, y))
    assert uniform(x, y).item() == pytest.approx((diagnostics.uniformity(x) + diagnostics.uniformity(y)) / 2)
    assert xuniform(x, y).item() == pytest.approx(diagnostics.cross_uniformity(x, y))


def test_equal_items_are_not_driven_apart():
    x = torch.eye(3)[[0, 0, 1]]
    groups = torch.tensor([[0], [0], [1]])
    assert uniform(x, x, groups).item() == pytest.approx(-4, abs=1e-6)
    assert uniform(x, x).item() > -4


def test_views():
    eye = torch.eye(3, dtype=torch.float64)
    assert mv_dhel([eye, eye], SCALE).item() == pytest.approx(-2 + 2 * math.log(2), abs=1e-9)
    for loss in (mv_infonce, mv_dhel, symile):
        torch.testing.assert_close(loss([Z, X, Y], SCALE), loss([X, Y, Z], SCALE))
    # Two views that see each other alone: InfoNCE's two directions in one logarithm.
    assert mv_infonce([eye, eye], SCALE, denominator="cross").item() == pytest.approx(infonce(eye, eye, SCALE).item())


def test_symile_sees_what_no_pair_tells():
    """An exclusive or: the product of the others gives each view, and any two of them say nothing."""
    a = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double() / math.sqrt(2)
    b = a[[1, 0, 2, 3]]
    c = a * b * math.sqrt(2)
    strong = torch.tensor(30.0, dtype=torch.float64)
    assert symile([a, b, c], strong) < math.log(16)
    torch.manual_seed(0)
    few = symile([a, b, c], strong, negatives="n")
    assert 0 <= few < symile([a, b, c], strong)
    with pytest.raises(RecipeError, match="three views or more, not 2"):
        symile([a, b], SCALE)
    with pytest.raises(RecipeError, match=r"700\^3 logits; set negatives: n"):
        symile([random_rows(700)] * 3, SCALE)


def test_gram():
    """Two views: the volume is the sine, so nothing but the angle counts."""
    x, y = random_rows(4, seed=1), random_rows(4, seed=2)
    sine = (1 - (x @ y.T).square()).sqrt()
    logits = -SCALE * sine
    expected = (logits.logsumexp(1) + logits.logsumexp(0) - 2 * logits.diagonal()).mean() / 2
    torch.testing.assert_close(gram([x, y], SCALE), expected)
    views = [x, y, random_rows(4, seed=3)]
    torch.testing.assert_close(gram(views, SCALE, names="xyz", anchor="y"), gram([y, x, views[2]], SCALE))
    assert gram(views, SCALE, smoothing=0.1) != gram(views, SCALE)
    with pytest.raises(RecipeError, match="2 dimensions hold no volume of 3 views"):
        gram([X, Y, Z], SCALE)
    torch.testing.assert_close(gram(views, SCALE, names="xyz", anchor="w"), gram(views, SCALE))


def test_m3col():
    x, y, z = random_rows(5, seed=1), random_rows(5, seed=2), torch.tensor(10.0, dtype=torch.float64)
    order, ones = torch.tensor([1, 2, 3, 4, 0]), torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(mixed(x, y, ones, order, 0.1).mean(), infonce(x, y, z))
    torch.testing.assert_close(mixed(x, y, 0 * ones, order, 0.1).mean(), infonce(x[order], y[order], z))
    itself = mixed(x, y, 0.3 * ones, torch.arange(5), 0.1)  # mixed with itself: the whole target stays
    torch.testing.assert_close(itself.mean(), infonce(x, y, z))
    equal, same = torch.tensor([[0], [0], [1], [2], [3]]), y[[0, 0, 2, 3, 4]]
    item = shares(same_item(equal, x), x.dtype)
    torch.testing.assert_close(mixed(x, same, ones, order, 0.1, item).mean(), infonce(x, same, z, equal))
    targets = (y @ y.T / 0.125).softmax(1)
    assert soft_targets(x, y, 0.125) >= torch.special.entr(targets).sum(1).mean()


class Guide(Rows):
    def embed(self, tower, model=None):
        assert model == "guide"
        return torch.ones(self.size, 3) / math.sqrt(3)


def test_gist_with_a_guide_that_finds_all_alike_masks_nothing_but_itself():
    loss = Gist(guide="guide")
    loss.start(Guide())
    s = SCALE
    eye = torch.eye(3).bool()
    below = torch.cat(
        [s * X @ Y.T, (s * X @ X.T).masked_fill(eye, -torch.inf), (s * Y @ Y.T).masked_fill(eye, -torch.inf)], 1
    ).logsumexp(1)
    torch.testing.assert_close(loss(X, Y, s, ROWS), (below - s * (X * Y).sum(1)).mean())
    both = Gist(guide="guide", direction="both")
    both.start(Guide())
    torch.testing.assert_close(both(X, Y, s, ROWS), (loss(X, Y, s, ROWS) + loss(Y, X, s, ROWS)) / 2)


def test_protoclip_with_a_cluster_for_each_row_is_infonce():
    x, y = random_rows(4, seed=1), random_rows(4, seed=2)
    loss = ProtoClip(clusters=4, temperature=0, back_translation=False)
    loss.start(Rows(rows=4))
    loss.double()
    every = torch.ones(4, dtype=torch.bool)
    loss.take("x", every, torch.arange(4), x, y)
    loss.take("y", every, torch.arange(4), y, x)
    torch.testing.assert_close(loss(x, y, SCALE, torch.arange(4)), infonce(x, y, SCALE), atol=1e-6, rtol=0)
    soft = ProtoClip(clusters=4, temperature=1e-4, back_translation=False)
    soft.start(Rows(rows=4))
    soft.double().load_state_dict(loss.state_dict())
    torch.testing.assert_close(soft(x, y, SCALE, torch.arange(4)), loss(x, y, SCALE, torch.arange(4)))
    back = ProtoClip(clusters=4, temperature=0)
    back.start(Rows(rows=4))
    back.double().load_state_dict(loss.state_dict())
    own = (infonce(x, x, SCALE) + infonce(y, y, SCALE)) / 2  # the centres are of the own tower then
    torch.testing.assert_close(back(x, y, SCALE, torch.arange(4)), own, atol=1e-6, rtol=0)


def test_protoclip_refuses_more_clusters_than_rows():
    loss = ProtoClip(clusters=64)
    loss.start(Rows())
    with pytest.raises(RecipeError, match="64 clusters of 12 rows that have x and y; set fewer"):
        loss.epoch(Rows())


def test_clap_with_networks_that_do_nothing_is_infonce():
    loss = Clap(init=0.5)
    loss.start(Rows(dim=2))
    loss.mlp_x = loss.mlp_y = torch.nn.Identity()
    torch.testing.assert_close(loss(X, Y, SCALE), infonce(X, Y, SCALE), rtol=0, atol=1e-6)


def test_isogclr_gradient_and_slope():
    """With s of this batch alone: the gradient of mean_i tau_i ln sum_j exp(h_ij / tau_i), and its slope in tau."""
    loss = ISogCLR(init=0.3)
    loss.start(Rows(rows=3))
    loss.double()
    x = X.clone().requires_grad_()
    (got,) = torch.autograd.grad(loss(x, Y, ROWS), x)

    def whole(x, tau):
        total = 0
        for similar in (x @ Y.T, Y @ x.T):
            h = similar - similar.diagonal().unsqueeze(1)
            total = total + (tau * (h / tau).masked_fill(torch.eye(3).bool(), -torch.inf).logsumexp(1)).mean()
        return total

    (expected,) = torch.autograd.grad(whole(x, 0.3), x)
    torch.testing.assert_close(got, expected)
    h, own = X @ Y.T - (X * Y).sum(1, keepdim=True), torch.eye(3).bool()
    tau = torch.full((3,), 0.3, dtype=torch.float64, requires_grad=True)
    value = tau * ((h / tau.unsqueeze(1)).masked_fill(own, -torch.inf).logsumexp(1) - math.log(2) + 8.0)
    (slope,) = torch.autograd.grad(value.sum(), tau)
    z, e = (h / 0.3).masked_fill(own, 0), (h / 0.3).exp().masked_fill(own, 0)
    p = e / e.sum(1, keepdim=True)
    none = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(slope_of(e.sum(1), none, p, z, torch.full((3,), 2), 8.0), slope)
    torch.testing.assert_close(slope_of(e.sum(1) * math.exp(-3), none + 3, p, z, torch.full((3,), 2), 8.0), slope)


def test_isogclr_touches_the_rows_of_the_batch_alone():
    loss = ISogCLR()
    loss.start(Rows(rows=9))
    before = {name: t.clone() for name, t in loss.state_dict().items()}
    loss(X.float(), Y.float(), torch.tensor([4, 1, 7]))
    for name, tensor in loss.state_dict().items():
        moved = (tensor != before[name]).nonzero().flatten().tolist()
        assert set(moved) <= {1, 4, 7}, name
    assert loss.u_x[[1, 4, 7]].abs().min() > 0
