"""Late fusion with missing modalities: what is missing changes nothing, nothing leaks, every part learns."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score

from modalign import ModelError, RecipeError
from modalign.tasks.fusion import (
    HEADS,
    Criterion,
    FusionClassifier,
    FusionOptions,
    balanced_weights,
    build_head,
    drop_modalities,
    modality_table,
    subsets_of,
)

WIDTHS = [5, 5, 5]


def head_of(how, **options):
    torch.manual_seed(3)
    return build_head(WIDTHS, 4, FusionOptions(how=how, **options))


def batch(n=6):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, w, generator=generator) for w in WIDTHS]


def rows(n=240, seed=0, classes=3):
    """Two views of a class, each of which says it in part."""
    generator = np.random.default_rng(seed)
    y = generator.integers(classes, size=n)
    X = {}
    for name in ("a", "b"):
        centres = np.random.default_rng(ord(name)).normal(size=(classes, 8))
        X[name] = centres[y] + 0.8 * generator.normal(size=(n, 8))
    return X, np.array(["low", "middle", "high"])[y]


def test_dropout_of_none_is_the_same_object():
    present = torch.rand(5, 3) > 0.5
    assert drop_modalities(present, 0.0) is present


@pytest.mark.parametrize("p", [0.3, 0.9, 1.0])
def test_dropout_never_drops_all_and_never_adds(p):
    torch.manual_seed(0)
    present = torch.rand(4000, 3) > 0.4
    kept = drop_modalities(present, p)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))
    assert (kept & present).float().sum() < present.float().sum()


def test_dropout_drops_with_its_chance_and_spares_each_alike():
    torch.manual_seed(0)
    three = torch.ones(200_000, 3, dtype=torch.bool)
    kept = drop_modalities(three, 0.3).float()
    # 0.7 each, and a third of the rows that would have lost all three get it back
    assert kept.mean(0).tolist() == pytest.approx([0.7 + 0.3**3 / 3] * 3, abs=0.005)
    assert drop_modalities(three, 1.0).float().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.005)


@pytest.mark.parametrize("how", HEADS)
def test_what_is_missing_says_nothing_whatever_stands_there(how):
    head, x = head_of(how).eval(), batch()
    present = torch.tensor([[True, False, True]] * 6)
    expected = head(x, present).logits
    for there in (torch.full_like(x[1], torch.nan), torch.full_like(x[1], 1e9)):
        assert torch.equal(head([x[0], there, x[2]], present).logits, expected)
    assert not torch.allclose(head(x, torch.ones(6, 3, dtype=torch.bool)).logits, expected)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("how", HEADS)
def test_a_missing_nan_reaches_no_gradient(how, by_row):
    head, x = build_head(WIDTHS, 4, FusionOptions(how=how), by_row).train(), batch()
    x[1][2] = torch.nan
    x = [own.requires_grad_() for own in x]
    present = torch.ones(6, 3, dtype=torch.bool)
    present[2, 1] = False
    Criterion("single")(head(x, present), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    assert all(torch.isfinite(p.grad).all() for p in [*head.parameters(), *x])
    assert not x[1].grad[2].any()


def test_a_missing_modality_leaves_the_state_and_all_missing_leave_the_first():
    head, x = head_of("sequential").eval(), batch()
    none = torch.zeros(6, 3, dtype=torch.bool)
    output = head(x, none)
    first = head.decoder(head.start)
    for state in output.states:
        torch.testing.assert_close(state, first.expand(6, -1))
    assert output.penalty == 0
    second = none.clone()
    second[:, 1] = True
    states = head(x, second).states
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[2], states[3])
    assert not torch.allclose(states[1], states[2])
    assert torch.equal(head([x[0] + 5, x[1], x[2] - 5], second).logits, states[3])


def test_the_sequential_loss_is_the_mean_over_states_and_the_state_change():
    head, x = head_of("sequential", penalty=2.0).eval(), batch()
    present = torch.ones(6, 3, dtype=torch.bool)
    present[0, 1] = False
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    s = head.start.expand(6, -1)
    losses, changes = [torch.nn.functional.cross_entropy(head.decoder(s), target)], []
    for m in range(3):
        new = head.encoders[m](torch.cat([s, x[m]], 1))
        new = torch.stack([new[i] if present[i, m] else s[i] for i in range(6)])
        changes.append(((new - s) ** 2).mean())
        losses.append(torch.nn.functional.cross_entropy(head.decoder(new), target))
        s = new
    expected = sum(losses) / 4 + 0.01 * 2.0 * sum(changes) / 3
    torch.testing.assert_close(Criterion("single")(head(x, present), target), expected)


@pytest.mark.parametrize("how", HEADS)
def test_gradient_reaches_every_part(how):
    head, x = head_of(how).train(), batch()
    present = torch.tensor(list(itertools.product([True, False], repeat=3)))[:6]
    Criterion("single")(head(x, present), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("how", HEADS)
def test_rows_do_not_touch_each_other(how):
    head, x = head_of(how).eval(), batch()
    present = torch.tensor(list(itertools.product([True, False], repeat=3)))[:6]
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    whole = head(x, present).logits
    torch.testing.assert_close(head([v[order] for v in x], present[order]).logits, whole[order])
    torch.testing.assert_close(head([v[2:3] for v in x], present[2:3]).logits, whole[2:3])


def test_a_mean_knows_no_order_of_modalities():
    head, x = head_of("mean", missing="skip").eval(), batch()
    present = torch.tensor(list(itertools.product([True, False], repeat=3)))[:6]
    turned = head([x[2], x[0], x[1]], present[:, [2, 0, 1]]).logits
    torch.testing.assert_close(turned, head(x, present).logits)


@pytest.mark.parametrize("how", ["concat", "mean"])
@pytest.mark.parametrize("missing", ["learned", "zero"])
def test_what_stands_for_a_missing_one(how, missing):
    head, x = head_of(how, missing=missing).train(), batch()
    present = torch.tensor([[True, False, True]] * 6)
    zero = head([x[0], torch.zeros_like(x[1]), x[2]], torch.ones(6, 3, dtype=torch.bool)).logits
    torch.testing.assert_close(head(x, present).logits, zero)  # zeros at first, learned or not
    head(x, present).logits.sum().backward()
    learnt = [p.grad is not None and bool(p.grad.abs().sum()) for p in head.missing]
    assert learnt == [False, missing == "learned", False]


def test_dropout_acts_in_training_alone():
    head, x, all_there = head_of("concat", modality_dropout=0.5), batch(), torch.ones(6, 3, dtype=torch.bool)
    assert not torch.allclose(head.train()(x, all_there).logits, head.eval()(x, all_there).logits)
    off = head_of("concat", modality_dropout=0.0)
    assert torch.equal(off.train()(x, all_there).logits, off.eval()(x, all_there).logits)


def test_class_weights_balance():
    truth = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]])
    weights = balanced_weights(truth, "single")
    assert weights.tolist() == pytest.approx([4 / 6, 2])
    # with constant logits the balanced loss is least at even odds, whatever the counts
    logits = torch.zeros(4, 2, requires_grad=True)
    from modalign.tasks.fusion import HeadOutput

    loss = Criterion("single", weights)(HeadOutput(logits, logits[None], torch.zeros(())), truth.argmax(1))
    loss.backward()
    assert logits.grad.sum(0).abs().max() < 1e-6
    assert balanced_weights(truth, "multi").tolist() == pytest.approx([1 / 3, 3])


@pytest.mark.parametrize("how", HEADS)
def test_it_learns_keeps_its_seed_and_saves(how, tmp_path):
    X, y = rows()
    X["a"][::5] = np.nan
    X["b"][1::5] = np.nan
    estimator = FusionClassifier(how, modality_dropout=0.2, epochs=30)
    state = torch.get_rng_state()
    fitted = clone(estimator).fit(X, y)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random state stays
    test, truth = rows(seed=1)
    assert fitted.score(test, truth) > 0.85
    alone = fitted.score({**test, "b": np.full_like(test["b"], np.nan)}, truth)
    assert 0.6 < alone < fitted.score(test, truth)
    again = clone(estimator).fit(X, y)
    assert np.array_equal(again.decision_function(test), fitted.decision_function(test))
    shuffled = {name: test[name] for name in ("b", "a")}
    assert np.array_equal(fitted.decision_function(shuffled), fitted.decision_function(test))
    fitted.save(tmp_path / "f")
    loaded = FusionClassifier.load(tmp_path / "f")
    assert loaded.modalities_ == ["a", "b"]
    assert np.array_equal(loaded.predict_proba(test), fitted.predict_proba(test))
    assert list(loaded.predict(test)) == list(fitted.predict(test))
    assert {p.suffix for p in (tmp_path / "f").iterdir()} == {".json", ".safetensors"}
    (tmp_path / "f" / "fusion.json").write_text("{}")
    with pytest.raises(ModelError, match="not what was saved"):
        FusionClassifier.load(tmp_path / "f")


def test_a_mask_is_as_good_as_nan():
    X, y = rows(80)
    there = {"a": np.arange(80) % 3 > 0}
    masked = FusionClassifier(epochs=5).fit(X, y, there)
    hidden = {"a": np.where(there["a"][:, None], X["a"], np.nan), "b": X["b"]}
    nan = FusionClassifier(epochs=5).fit(hidden, y)
    assert np.array_equal(masked.decision_function(X, there), nan.decision_function(hidden))


def test_balanced_weights_find_the_rare_class():
    X, y = rows(600, classes=2)
    kept = np.flatnonzero((y == "low") | (np.arange(600) % 12 == 0))
    noise = np.random.default_rng(2)
    X, y = {name: (v + 2 * noise.normal(size=v.shape))[kept] for name, v in X.items()}, y[kept]
    plain, balanced = (FusionClassifier(class_weight=w, epochs=40).fit(X, y) for w in (None, "balanced"))
    figures = [balanced_accuracy_score(y, e.predict(X)) for e in (plain, balanced)]
    assert figures[1] > figures[0] + 0.1


def test_several_labels():
    X, y = rows(200)
    truth = np.stack([y != "low", y != "high"], 1).astype(int)
    fitted = FusionClassifier(epochs=40, classes=["loud", "deep"]).fit(X, truth)
    assert fitted.predict(X).shape == truth.shape
    assert fitted.score(X, truth) > 0.85
    p = fitted.predict_proba(X)
    assert (p.sum(1) > 1.1).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": "sum"}, "how"),
        ({"class_weight": "even"}, "neither None nor 'balanced'"),
        ({"missing": "skip"}, "skip needs fusion.how: mean"),
        ({"classes": ["low", "high"]}, "'middle' is not among"),
    ],
)
def test_mistakes_of_options(change, message):
    X, y = rows(30)
    with pytest.raises(RecipeError, match=message):
        FusionClassifier(epochs=1, **change).fit(X, y)


def test_mistakes_of_rows():
    X, y = rows(30)
    fitted = FusionClassifier(epochs=1).fit(X, y)
    with pytest.raises(RecipeError, match="no modality 'aa' was learnt; did you mean 'a'"):
        fitted.predict({"aa": X["a"], "b": X["b"]})
    with pytest.raises(RecipeError, match="has no 'b'"):
        fitted.predict({"a": X["a"]})
    with pytest.raises(RecipeError, match=r"shape \(30, 7\); it must be \(30, 8\)"):
        fitted.predict({"a": X["a"], "b": X["b"][:, :7]})
    X["a"][3, 2] = np.nan
    with pytest.raises(RecipeError, match="row 3 is NaN in part"):
        fitted.predict(X)
    with pytest.raises(RecipeError, match="29 labels for 30 rows"):
        FusionClassifier(epochs=1).fit(rows(30)[0], y[:29])
    with pytest.raises(RecipeError, match="one class"):
        FusionClassifier(epochs=1).fit(rows(30)[0], ["x"] * 30)
    with pytest.raises(RecipeError, match="features of one size"):
        FusionClassifier("mean", epochs=1).fit({"a": np.zeros((4, 2)), "b": np.zeros((4, 3))}, list("xyxy"))


def test_the_table_scores_every_subset_on_its_rows_and_on_the_same_rows():
    assert subsets_of(["a", "b", "c"])[-1] == (0, 1, 2)
    assert len(subsets_of("abc")) == 7
    assert [len(s) for s in subsets_of("abcdef")] == [1] * 6 + [5] * 6 + [6]
    present = np.array([[True, True], [True, False], [False, True], [True, True]])
    seen = []

    def scored(given):
        seen.append(given.copy())
        return given.sum(1, keepdims=True).astype(float)

    table = modality_table(
        ["a", "b"], present, scored, lambda s, i: (float(s[i].mean()), (float("nan"),) * 2), "accuracy"
    )
    assert [row[:3] for row in table.rows] == [["a", 3, 1.0], ["b", 3, 1.0], ["a + b", 2, 2.0]]
    assert [row[4] for row in table.rows] == [1.0, 1.0, 2.0]
    assert not seen[0][:, 1].any()
    assert np.array_equal(seen[2], present)


def test_it_can_be_fitted_again_on_features_of_other_widths():
    model = FusionClassifier(epochs=1).fit({"a": np.eye(4)}, list("xyxy"))
    assert model.fit({"a": np.eye(6)}, list("xyxyxy")).decision_function({"a": np.eye(6)}).shape == (6, 2)


def test_one_row_of_a_modality_blows_up_nothing():
    """The constants of a single row tell no spread; other rows must not be a million million times as large."""
    X = {"a": np.eye(4), "b": np.vstack([np.ones((1, 3)), np.full((3, 3), np.nan)])}
    model = FusionClassifier(epochs=2).fit(X, list("xyxy"))
    assert np.abs(model.decision_function({"a": np.eye(4), "b": np.full((4, 3), 1.5)})).max() < 100
