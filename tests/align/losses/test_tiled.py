"""The tiled losses beside their dense forms: values, gradients, precision, and what they keep in memory."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modalign import RecipeError
from modalign.align.losses import cwcl, infonce, siglip, supcon, tiles
from modalign.align.losses.positives import Positives
from modalign.align.losses.supcon import supcon_rows
from modalign.align.losses.targets import same_item
from tests.align.losses import reference
from tests.align.losses.vectors import SCALE, X, Y, random_rows, unit

TILED = {
    "infonce": (infonce, {}),
    "infonce x2y": (infonce, {"direction": "x2y"}),
    "infonce y2x": (infonce, {"direction": "y2x"}),
    "infonce smoothed": (infonce, {"smoothing": 0.1}),
    "siglip": (siglip, {}),
    "cwcl": (cwcl, {}),
    "cwcl y": (cwcl, {"trusted": "y"}),
    "supcon": (supcon, {}),
    "supcon cross": (supcon, {"form": "cross"}),
}
GROUPS = {
    "none": None,
    "one column": torch.tensor([[0], [1], [0], [2], [3], [1], [0]]),
    "chained": torch.tensor([[0, 5], [0, 6], [1, 6], [2, 7], [3, 8], [4, 5], [9, 9]]),
    "three": torch.tensor([[0, 0, 0], [0, 0, 1], [1, 0, 1], [2, 3, 1], [2, 3, 4], [5, 3, 4], [6, 6, 6]]),
    "all equal": torch.zeros(7, 1, dtype=torch.int64),
}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setitem(tiles._SIDE, "cpu", 3)  # of 7 rows: two whole tiles and a part


@pytest.fixture(params=TILED)
def tiled(request):
    """A loss, its dense form, its options, and whether it has a bias."""
    loss, options = TILED[request.param]
    return loss, getattr(reference, loss.__name__), options, loss is siglip


def leaves(rows=7, biased=False, scale=3.0, dtype=torch.float64):
    given = {"x": random_rows(rows, 5, 1, dtype), "y": random_rows(rows, 5, 2, dtype)}
    given["scale"] = torch.tensor(scale, dtype=dtype)
    if biased:
        given["bias"] = torch.tensor(-1.5, dtype=dtype)
    return {name: leaf.requires_grad_() for name, leaf in given.items()}


def gradients(loss, given, groups, options):
    value = loss(**given, groups=groups, **options)
    return [value, *torch.autograd.grad(value * 1.7, list(given.values()))]


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_value_and_gradient_are_the_dense_forms(tiled, groups):
    loss, dense, options, biased = tiled
    given = leaves(biased=biased)
    torch.testing.assert_close(gradients(loss, given, groups, options), gradients(dense, given, groups, options))


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_any_number_of_rows(tiled, rows):
    loss, dense, options, biased = tiled
    given = leaves(rows, biased)
    torch.testing.assert_close(gradients(loss, given, None, options), gradients(dense, given, None, options))


def test_no_rows_are_no_loss(tiled):
    loss, _, options, biased = tiled
    value, *grads = gradients(loss, leaves(0, biased), None, options)
    assert [value.item(), *(g.abs().sum().item() for g in grads)] == [0.0] * (1 + len(grads))


@pytest.mark.parametrize("wanted", ["x", "y", "scale"])
def test_one_gradient_without_the_others(tiled, wanted):
    loss, dense, options, biased = tiled
    given = {name: leaf.detach() for name, leaf in leaves(biased=biased).items()}
    given[wanted].requires_grad_()
    (got,) = torch.autograd.grad(loss(**given, **options), given[wanted])
    torch.testing.assert_close(got, torch.autograd.grad(dense(**given, **options), given[wanted])[0])


@pytest.mark.parametrize("groups", [None, GROUPS["chained"]])
def test_gradcheck(tiled, groups):
    loss, _, options, biased = tiled
    if loss is cwcl:
        pytest.skip("its weights are constants that it makes itself: see test_cwcl")
    given = leaves(biased=biased)
    assert torch.autograd.gradcheck(
        lambda *tensors: loss(**dict(zip(given, tensors)), groups=groups, **options), list(given.values())
    )


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
def test_single_precision_is_as_good_as_the_dense_forms(tiled, scale, noise, monkeypatch):
    """From rows that have all but converged to rows that have not begun."""
    monkeypatch.setitem(tiles._SIDE, "cpu", 64)
    loss, dense, options, biased = tiled
    exact = leaves(200, biased, scale)
    exact["y"] = F.normalize(exact["x"] + noise * exact["y"], dim=1).detach().requires_grad_()
    exact = {name: leaf.detach().float().double().requires_grad_() for name, leaf in exact.items()}
    single = {name: leaf.detach().float().requires_grad_() for name, leaf in exact.items()}
    true, got, peer = (gradients(f, t, None, options) for f, t in ((dense, exact), (loss, single), (dense, single)))
    assert all(g.dtype == torch.float32 for g in got)
    for name, t, g, p in zip(("value", *exact), true, got, peer):
        t, g, p = (tensor.detach().double() for tensor in (t, g, p))
        ours, theirs = (float((a - t).abs().max() / t.abs().max().clamp(min=1e-2)) for a in (g, p))
        # The stacked form's positives are not on the diagonal: its value is good to rounding times the scale.
        assert ours < (1e-3 if loss is supcon and not options else max(1e-5, 4 * theirs)), name


def test_logits_too_large_for_exponentials():
    given = leaves(scale=3e4)
    torch.testing.assert_close(gradients(infonce, given, None, {}), gradients(reference.infonce, given, None, {}))
    given = leaves(biased=True, scale=3e4)
    torch.testing.assert_close(gradients(siglip, given, None, {}), gradients(reference.siglip, given, None, {}))


def test_smoothing_is_cross_entropys():
    logits, own = SCALE * X @ Y.T, torch.arange(3)
    both = [F.cross_entropy(side, own, label_smoothing=0.2) for side in (logits, logits.T)]
    torch.testing.assert_close(infonce(X, Y, SCALE, smoothing=0.2), sum(both) / 2)
    with pytest.raises(RecipeError, match=r"smoothing: 1\.5 is not in \[0, 1\]"):
        infonce(X, Y, SCALE, smoothing=1.5)


def test_supcon_fixture():
    labels = torch.tensor([0, 0, 1, 0, 1, 1]).unsqueeze(1)
    assert supcon_rows(torch.cat([X, Y]), SCALE, labels).item() == pytest.approx(1.658066, abs=1e-6)


def test_supcon_limits():
    cross = supcon(X, Y, SCALE, GROUPS["one column"][:3], form="cross")
    torch.testing.assert_close(cross, infonce(X, Y, SCALE, GROUPS["one column"][:3]))
    torch.testing.assert_close(supcon(X, Y, SCALE, form="cross"), infonce(X, Y, SCALE))
    lonely = torch.tensor([[0], [0], [1]])  # the third has no positive, and still is a negative of the others
    torch.testing.assert_close(supcon_rows(X, SCALE, lonely), reference.supcon_rows(X, SCALE, lonely))
    assert supcon_rows(X, SCALE, torch.arange(3).unsqueeze(1)).item() == 0
    with pytest.raises(RecipeError, match="'both' is not one of stacked, cross"):
        supcon(X, Y, SCALE, form="both")


def test_siglip_folds_any_width(monkeypatch):
    for side in (1, 2, 5, 64, 129):
        monkeypatch.setitem(tiles._SIDE, "cpu", side)
        given = leaves(130, biased=True)
        torch.testing.assert_close(siglip(**given), reference.siglip(**given))


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_positives_are_those_of_the_matrix(columns):
    groups = torch.randint(0, 6, (40, columns), generator=torch.Generator().manual_seed(columns)) * 10**15 - 7
    mask, values = same_item(groups, groups).double(), random_rows(40)
    positives, some = Positives(groups), slice(3, 9)
    torch.testing.assert_close(positives.counts, mask.sum(1).float())
    torch.testing.assert_close(positives.sums(values, some), (mask @ values)[some])
    torch.testing.assert_close(positives.means(values), mask @ values / mask.sum(1, keepdim=True))
    torch.testing.assert_close(positives.dealt(values), mask @ (values / mask.sum(1, keepdim=True)))


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation made."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.size = max([self.size, *(t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor))])
        return made


def measured(function, given, groups, options):
    """The largest tensor's elements, and the bytes that are kept for the backward pass."""
    kept = []

    def keep(tensor):
        kept.append(tensor.nbytes)
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(**given, groups=groups, **options).backward()
    return largest.size, sum(kept)


@pytest.mark.parametrize("grouped", [False, True])
def test_nothing_of_all_pairs_is_made_or_kept(tiled, grouped, monkeypatch):
    monkeypatch.setitem(tiles._SIDE, "cpu", 16)
    loss, dense, options, biased = tiled
    rows, dim = 100, 5
    groups = torch.arange(rows).view(-1, 1) // torch.tensor([2, 3]) if grouped else None
    used = {}
    for name, function in (("tiled", loss), ("dense", dense)):
        used[name] = measured(function, leaves(rows, biased), groups, options)
    assert used["tiled"][0] <= 2 * rows * dim  # two views stacked; a tile has 16 x 16
    assert used["tiled"][1] <= 8 * rows * dim * 30
    assert used["dense"][0] >= rows * rows  # what the measure would see
    assert used["dense"][1] >= 8 * rows * rows


def test_equal_captions_encoded_once():
    texts = unit(30, 180).requires_grad_()
    repeated, groups = texts[[0, 0, 1]], torch.tensor([[0], [0], [1]])
    for loss in (infonce, cwcl, supcon):
        once = torch.autograd.grad(loss(X, texts[[0, 0, 1]], SCALE, groups), texts)[0]
        each = torch.autograd.grad(loss(X, repeated, SCALE, groups), repeated)[0]
        torch.testing.assert_close(once, torch.stack([each[0] + each[1], each[2]]))
