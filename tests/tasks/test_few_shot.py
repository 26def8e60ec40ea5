"""Few-shot methods: published values, agreement with scikit-learn, and what each refuses."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestCentroid

from modalign.errors import RecipeError
from modalign.tasks.few_shot import (
    BaseToNewGaussian,
    CrossModalPrototypes,
    GaussianDiscriminant,
    Logistic,
    Prototypes,
    TipAdapter,
    choose,
    list_few_shot,
    make_few_shot,
    register_few_shot,
)
from modalign.tasks.few_shot.base import best_f1_threshold

MULTI = list_few_shot(multi_label=True)


def angles(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def data():
    """Sixty rows of three classes about three directions of eight, their labels, and the directions."""
    generator = np.random.default_rng(3)
    centres = unit(generator.normal(size=(3, 8)))
    y = np.repeat(["a", "b", "c"], 20)
    X = unit(np.repeat(centres, 20, axis=0) + 0.35 * generator.normal(size=(60, 8)))
    return X, y, centres


def test_gda_has_the_published_values():
    X = np.array([[1, 0], [1.2, 0.2], [0, 1], [0.2, 1.2]])
    model = GaussianDiscriminant().fit(X, [0, 0, 1, 1])
    np.testing.assert_allclose(model.precision_, [[46.875, -28.125], [-28.125, 46.875]], atol=1e-6)
    np.testing.assert_allclose(model.intercept_, [-26.193147] * 2, atol=1e-6)
    np.testing.assert_allclose(model.decision_function([[1, 0]]), [[22.556853, -52.443147]], atol=1e-6)


def test_gda_from_base_to_new_classes():
    """Values by hand: the base precision is not shrunk, the new one is; new means lie between rows and names."""
    X, y = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]]), ["a", "a", "b", "b"]
    base = BaseToNewGaussian().fit(X, y)
    np.testing.assert_allclose(base.precision_, [[15.625, 9.375], [9.375, 15.625]])
    np.testing.assert_allclose(base.decision_function([[1, 0]])[0, 0], 16.875 - np.log(2) - 9.5625)
    new = base.for_new(np.eye(2), ["c", "d"], neighbours=2, copies=2)
    np.testing.assert_allclose(new.means_, [[0.95, 0.15], [0.15, 0.95]])
    np.testing.assert_allclose(new.precision_, [[3.75, 0.75], [0.75, 3.75]])
    np.testing.assert_allclose(new.decision_function([[1, 0]]), [[101.140603, -1.259397]], atol=1e-6)
    assert new.predict([[1, 0], [0, 1]]).tolist() == ["c", "d"]
    zero = BaseToNewGaussian(alpha=0.0).fit(X, y).for_new(np.eye(2), ["c", "d"])
    np.testing.assert_allclose(zero.decision_function(X), 100 * X)
    with pytest.raises(RecipeError, match="one row"):
        BaseToNewGaussian().fit(X[:3], y[:3])
    with pytest.raises(RecipeError, match="two classes or more"):
        base.for_new(np.eye(2)[:1], ["c"])


def test_gda_without_the_gaussian_part_is_zero_shot(data):
    X, y, text = data
    model = GaussianDiscriminant(alpha=0.0, text=text).fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), 100 * X @ text.T)
    added = GaussianDiscriminant(alpha=0.5, text=text).fit(X, y).decision_function(X)
    alone = GaussianDiscriminant(alpha=0.5).fit(X, y).decision_function(X)
    np.testing.assert_allclose(added, alone + 100 * X @ text.T)


def test_gda_is_shrunk_linear_discriminant_analysis(data):
    """The formula is sklearn's shrinkage d / (n - 1 + d), times a constant."""
    X, y, _ = data
    n, d = X.shape
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=d / (n - 1 + d), priors=[1 / 3] * 3).fit(X, y)
    ours = GaussianDiscriminant().fit(X, y)
    a, b = ours.decision_function(X) + np.log(3), theirs.decision_function(X) + np.log(3)
    ratio = a / b
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert (ours.predict(X) == theirs.predict(X)).all()


def test_gda_of_one_row_a_class_is_the_nearest_mean(data):
    X, y, _ = data
    one = [0, 20, 40]
    assert (GaussianDiscriminant().fit(X[one], y[one]).predict(X) == Prototypes().fit(X[one], y[one]).predict(X)).all()


def test_tip_adapter_has_the_published_values():
    model = TipAdapter(text=angles(10, 80)).fit(angles(30, 60, 180), [0, 1, 1])
    scores = model.decision_function(angles(0, 60, 90))
    np.testing.assert_allclose(scores[0], [98.959390, 17.428762], atol=1e-6)
    several = TipAdapter(text=angles(10, 80)).fit(angles(30, 60, 180), np.array([[1, 0], [0, 1], [0, 1]]))
    np.testing.assert_array_equal(several.decision_function(angles(0, 60, 90)), scores)


def test_prototypes_are_the_nearest_centroid(data):
    X, y, _ = data
    ours, theirs = Prototypes().fit(X, y), NearestCentroid().fit(X, y)
    np.testing.assert_allclose(ours.means_, theirs.centroids_)
    distances = np.linalg.norm(X[:, None] - theirs.centroids_, axis=2)
    np.testing.assert_allclose(ours.decision_function(X), -(distances**2), atol=1e-12)
    assert (ours.predict(X) == theirs.predict(X)).all()


def test_cross_modal_prototypes_lie_between_prototypes_and_zero_shot(data):
    X, y, text = data
    plain = Prototypes().fit(X, y).decision_function(X)
    for model in (CrossModalPrototypes(weight=0.0, text=text), CrossModalPrototypes()):
        np.testing.assert_allclose(model.fit(X, y).decision_function(X), plain)
    same = CrossModalPrototypes(weight=0.3, text=Prototypes().fit(X, y).means_)  # both modalities agree
    np.testing.assert_allclose(same.fit(X, y).decision_function(X), plain)
    zero_shot = CrossModalPrototypes(weight=1.0, text=text).fit(X, y)
    np.testing.assert_allclose(zero_shot.decision_function(X), 2 * X @ text.T - 2)


def test_logistic_is_scikit_learns(data):
    X, y, _ = data
    theirs = LogisticRegression(C=10.0, max_iter=1000).fit(X, y)
    ours = Logistic().fit(X, y)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    two = y != "c"
    theirs = LogisticRegression(C=10.0, max_iter=1000).fit(X[two], y[two])
    np.testing.assert_allclose(Logistic().fit(X[two], y[two]).predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_logistic_for_several_labels_is_one_against_the_rest(data):
    X, y, _ = data
    truth = np.stack([y == "a", y != "c", np.ones(60, bool)], axis=1).astype(int)
    ours = Logistic().fit(X, truth)
    theirs = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000)).fit(X, truth[:, :2])
    np.testing.assert_allclose(ours.predict_proba(X)[:, :2], theirs.predict_proba(X), atol=1e-6)
    assert (ours.decision_function(X)[:, 2] == 0).all()  # all rows have it


@pytest.mark.parametrize("name", list_few_shot())
def test_every_method_has_scikit_learns_manners(name, data):
    X, y, text = data
    model = make_few_shot(name, ["c", "a", "b"], text[[2, 0, 1]])
    with pytest.raises(Exception, match="not fitted"):
        model.decision_function(X)
    model.fit(X, y)
    assert list(model.classes_) == ["c", "a", "b"]
    scores = model.decision_function(X)
    assert scores.shape == (60, 3)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert (model.predict(X) == np.array(["c", "a", "b"])[scores.argmax(1)]).all()
    assert model.score(X, y) > 0.9
    copy = clone(model)
    assert not hasattr(copy, "classes_")
    assert set(copy.get_params()) == set(model.get_params()) >= {"classes", *model.grid}
    np.testing.assert_array_equal(copy.fit(X, y).decision_function(X), scores)
    assert np.mean(cross_val_score(make_few_shot(name), X, y)) > 0.8
    if model.grid:
        search = GridSearchCV(make_few_shot(name), {k: list(v)[:2] for k, v in model.grid.items()}, cv=2)
        assert set(search.fit(X, y).best_params_) == set(model.grid)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(model.fit(X[order], y[order]).decision_function(X), scores, atol=1e-4)


@pytest.mark.parametrize("name", list_few_shot())
def test_every_method_with_a_form_for_several_labels_takes_it_and_the_others_say_so(name, data):
    X, y, text = data
    truth = np.stack([y == "a", y != "c", y == "c"], axis=1).astype(int)
    model = make_few_shot(name, ["a", "ab", "c"], text)
    if name not in MULTI:
        with pytest.raises(RecipeError, match=rf"{type(model).__name__} has no form for several labels.*logistic"):
            model.fit(X, truth)
        return
    model.fit(X, truth)
    with pytest.raises(RecipeError, match="fit_thresholds"):
        model.predict(X)
    predicted = model.fit_thresholds(X, truth).predict(X)
    assert predicted.shape == truth.shape
    assert f1_score(truth, predicted, average="macro") > 0.9


def test_what_is_refused(data):
    X, y, text = data
    with pytest.raises(RecipeError, match="no few-shot method 'gdaa'; did you mean 'gda'"):
        make_few_shot("gdaa")
    with pytest.raises(ValueError, match="already registered"):
        register_few_shot("gda")(GaussianDiscriminant)
    with pytest.raises(RecipeError, match="one class"):
        Prototypes().fit(X[:3], y[:3])
    with pytest.raises(RecipeError, match="'c' is not among"):
        Prototypes(classes=["a", "b"]).fit(X, y)
    with pytest.raises(RecipeError, match="'d' has no row"):
        Prototypes(classes=["a", "b", "c", "d"]).fit(X, y)
    with pytest.raises(RecipeError, match=r"text has the shape \(2, 8\)"):
        TipAdapter(text=text[:2]).fit(X, y)
    with pytest.raises(RecipeError, match="of 7 values; Prototypes learnt 8"):
        Prototypes().fit(X, y).predict(X[:, :7])
    with pytest.raises(RecipeError, match="of 0 and 1"):
        Logistic(classes=["a"]).fit(X, np.ones((60, 2)))
    with pytest.raises(ValueError, match="NaN"):
        Prototypes().fit(np.full_like(X, np.nan), y)


def test_validation_chooses_the_weight_of_what_helps(data):
    """Class names that are swapped: validation turns to the rows; rows that are noise: it turns to the names."""
    X, y, text = data
    generator = np.random.default_rng(1)
    learn, hold = np.arange(0, 60, 2), np.arange(1, 60, 2)
    validation = (X[hold], y[hold])
    wrong = choose(CrossModalPrototypes(text=text[[1, 2, 0]]), X[learn], y[learn], validation)
    assert wrong.parameters["weight"] < 0.5
    noise = unit(generator.normal(size=(30, 8)))
    right = choose(CrossModalPrototypes(text=text), noise, y[learn], validation)
    assert right.parameters["weight"] > 0.5
    assert right.figure == right.estimator.score(*validation)
    wrong = choose(GaussianDiscriminant(text=text[[1, 2, 0]]), X[learn], y[learn], validation)
    right = choose(GaussianDiscriminant(text=text), noise, y[learn], validation)
    assert right.parameters["alpha"] < wrong.parameters["alpha"]


@pytest.mark.parametrize("name", list_few_shot())
def test_without_validation_the_rows_are_cross_validated(name, data):
    X, y, text = data
    estimator = make_few_shot(name, None, text)
    few = np.r_[0:4, 20:24, 40:44]
    chosen = choose(estimator, X[few], y[few])
    assert not hasattr(estimator, "classes_")
    assert set(chosen.parameters) == set(estimator.grid)
    assert chosen.figure > 0.8  # of those without parameters too, to compare methods by
    again = choose(estimator, X[few], y[few])
    assert again.parameters == chosen.parameters
    one = choose(estimator, X[[0, 20, 40]], y[[0, 20, 40]])  # nothing to hold out
    assert one.figure is None
    assert one.parameters == {p: estimator.get_params()[p] for p in estimator.grid}
    together = choose(estimator, X[few], y[few], groups=["same recording"] * 12)
    assert together.figure is None


@pytest.mark.parametrize("name", MULTI)
def test_several_labels_are_chosen_by_macro_auroc(name, data):
    X, y, text = data
    truth = np.stack([y == "a", y != "c", y == "c"], axis=1).astype(int)
    chosen = choose(make_few_shot(name, None, text), X[::2], truth[::2], (X[1::2], truth[1::2]))
    assert chosen.figure > 0.9
    assert choose(make_few_shot(name, None, text), X[::2], truth[::2]).figure > 0.9


def test_the_middle_of_equals_is_taken():
    """Two well separated classes: every weight is right."""
    X = angles(0, 1, 90, 91)
    chosen = choose(CrossModalPrototypes(text=angles(0, 90)), X, list("aabb"), (X, list("aabb")))
    assert chosen.parameters == {"weight": 0.5}


def test_thresholds():
    assert best_f1_threshold(np.array([0, 0]), np.array([0.1, 0.2])) == np.inf
    assert best_f1_threshold(np.array([1, 0, 1]), np.array([0.5, 0.5, 0.5])) == 0.5
