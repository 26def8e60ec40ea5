"""Trees of labels: levels, both rules, and the sets that modalities bring."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.nn import functional as F

from modalign import RecipeError, ZeroShotClassifier, build_model, get_modality, list_modalities
from modalign.tasks.hierarchy import HierarchicalZeroShot, Hierarchy, label_set, read_hierarchy
from tests.conftest import make_recipe

TREE = {"loud": {"low": None, "bright": ["middle", "high"]}, "quiet": None}


@pytest.fixture(scope="module")
def model(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


@pytest.fixture
def items():
    return F.normalize(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), dim=1)


def test_levels():
    tree = Hierarchy.parse(TREE)
    assert tree.leaves == ["low", "middle", "high", "quiet"]
    assert tree.depth == 3
    assert [tree.level(k) for k in (1, 2, 3)] == [["loud", "quiet"], ["low", "bright", "quiet"], tree.leaves]
    assert tree.members(2).astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert tree.decisions() == {
        (): ["loud", "quiet"], ("loud",): ["low", "bright"], ("loud", "bright"): ["middle", "high"],
    }  # fmt: skip
    same = Hierarchy.parse({"a": ["a", "b"], "c": None})  # a group may be called as one of its labels
    assert (same.level(1), same.leaves) == (["a", "c"], ["a", "b", "c"])


def test_the_sum_of_the_children(model, items):
    flat = ZeroShotClassifier(model, "tone", ["quiet", "high", "low", "middle"])  # another order than the tree's
    tree = HierarchicalZeroShot(flat, Hierarchy.parse(TREE))
    p = flat.predict_proba(items)
    np.testing.assert_allclose(tree.level_scores(items, 1), np.stack([p[:, 1:].sum(1), p[:, 0]], 1), rtol=1e-5)
    np.testing.assert_allclose(tree.level_scores(items, 3), p[:, [2, 3, 1, 0]], rtol=1e-6)
    assert tree.predict(items) == flat.predict(items)
    y = flat.predict(items)
    assert tree.score(items, y) == 1.0
    group = {"quiet": "quiet", "high": "bright", "low": "low", "middle": "bright"}
    right = np.mean([group[a] == b for a, b in zip(y, tree.predict(items, level=2))])
    assert tree.score(items, y, level=2) == right


def test_a_path_of_decisions(model, items):
    flat = ZeroShotClassifier(model, "tone", ["low", "middle", "high", "quiet"])
    tree = HierarchicalZeroShot(flat, Hierarchy.parse(TREE), "path")

    def among(*names):
        return ZeroShotClassifier(model, "tone", names).predict_proba(items)

    top, second, third = among("loud", "quiet"), among("low", "bright"), among("middle", "high")
    expected = [top[:, 0] * second[:, 0], *(top[:, [0]] * second[:, [1]] * third).T, top[:, 1]]
    np.testing.assert_allclose(tree.level_scores(items, 3), np.stack(expected, 1), rtol=1e-4)
    np.testing.assert_allclose(tree.level_scores(items, 1), top, rtol=1e-5)
    np.testing.assert_allclose(tree.level_scores(items, 3).sum(1), 1, rtol=1e-5)
    leaves, groups = tree.predict(items), tree.predict(items, level=1)
    assert [("quiet" if leaf == "quiet" else "loud") for leaf in leaves] == groups
    assert groups == [("loud", "quiet")[k] for k in top.argmax(1)]
    deep = [i for i, leaf in enumerate(leaves) if leaf in ("middle", "high")]
    assert deep
    assert [leaves[i] for i in deep] == [("middle", "high")[k] for k in third[deep].argmax(1)]


def test_gamma_on_a_path(model, items):
    flat = ZeroShotClassifier(model, "tone", ["low", "middle", "high", "quiet"], seen=["quiet", "low"], gamma=5.0)
    tree = HierarchicalZeroShot(flat, Hierarchy.parse(TREE), "path")
    assert set(tree.predict(items, level=1)) == {"loud"}  # some of its labels are new, so the group counts as new
    assert set(tree.predict(items)) == {"middle", "high"}
    assert set(clone(tree).set_params(classifier__gamma=0.0).predict(items)) > {"middle", "high"}


@pytest.mark.parametrize(("mode", "rule"), [("pairs", "children"), ("pairs", "path"), ("cosine", "children")])
def test_several_labels_an_item(model, items, mode, rule):
    flat = ZeroShotClassifier(model, "tone", ["low", "middle", "high", "quiet"], multi_label=mode)
    tree = HierarchicalZeroShot(flat, Hierarchy.parse(TREE), rule)
    y = [("low", "high"), ("quiet",), (), ("middle",), ("high",)] * 10
    assert tree.truth(y[:4], 2).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    scores = tree.level_scores(items, 2)
    if rule == "children":
        own = flat.decision_function(items) if mode == "cosine" else flat.predict_proba(items)
        np.testing.assert_allclose(scores, np.stack([own[:, 0], own[:, 1:3].max(1), own[:, 3]], 1), rtol=1e-5)
    assert 0 < tree.score(items, y, level=2) < 1
    with pytest.raises(RecipeError, match="several labels an item"):
        tree.predict(items)


def test_refusals(model, tmp_path):
    flat = ZeroShotClassifier(model, "tone", ["low", "high"])
    with pytest.raises(RecipeError, match="'high' is not both a label of the classifier and a leaf"):
        HierarchicalZeroShot(flat, Hierarchy.parse(["low"]))
    with pytest.raises(RecipeError, match=r"no rule 'child'; did you mean 'children'\?"):
        HierarchicalZeroShot(flat, Hierarchy.parse(["low", "high"]), "child")
    cosine = ZeroShotClassifier(model, "tone", ["low", "high"], multi_label="cosine")
    with pytest.raises(RecipeError, match="raw cosines are none"):
        HierarchicalZeroShot(cosine, Hierarchy.parse(["low", "high"]), "path")
    with pytest.raises(RecipeError, match="'a' stands twice at level 1"):
        Hierarchy.parse(["a", "a"])
    with pytest.raises(RecipeError, match="at a > b: write a list of labels"):
        Hierarchy.parse({"a": {"b": 3}})
    with pytest.raises(RecipeError, match="has no labels"):
        Hierarchy.parse({})
    path = tmp_path / "tree.yaml"
    path.write_text("moving: [walking, running]\nstill: {sitting: , lying: }\n")
    assert read_hierarchy(path).leaves == ["walking", "running", "sitting", "lying"]
    path.write_text("a: [b")
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        read_hierarchy(path)


SETS = [(m, s) for m in list_modalities() if m not in ("text", "tone") for s in get_modality(m).label_sets]


@pytest.mark.parametrize(("modality", "name"), SETS)
def test_every_label_set_is_a_tree_whose_labels_are_described(modality, name):
    kind = get_modality(modality)
    tree = label_set(kind, name)
    assert len(tree.leaves) >= 2
    for label in tree.leaves:
        assert len(kind.descriptions[label]) >= 3, label
    assert kind.label_sets[name].about


def test_the_sets_are_whole():
    sizes = {"esc50": 50, "esc10": 10, "chexpert": 14, "chexpert-tree": 14, "chestxray14": 14, "ct-rate": 18,
             "ct-rate-tree": 18, "ptb-xl-super": 5, "ptb-xl-sub": 23, "ptb-xl-diagnostic": 44, "ptb-xl-form": 19,
             "ptb-xl-rhythm": 12, "ptb-xl-all": 71}  # fmt: skip
    found = {s: len(label_set(get_modality(m), s).leaves) for m, s in SETS if s in sizes}
    assert found == sizes
    with pytest.raises(RecipeError, match="audio has no label set 'esc5'; did you mean 'esc50'"):
        label_set(get_modality("audio"), "esc5")


def test_the_labels_of_the_readers_are_in_their_sets():
    from modalign.datasets import chestxray14, cpsc2018, hapt, motionsense, pamap2, ptb_xl, wisdm

    def leaves(modality, name):
        return set(label_set(get_modality(modality), name).leaves)

    union = {*hapt.LABELS.values(), *motionsense.LABELS.values(), *pamap2.LABELS.values(), *wisdm.LABELS.values()}
    assert leaves("motion", "har") == union
    assert leaves("motion", "wisdm") == set(wisdm.LABELS.values())
    assert leaves("motion", "pamap2") == set(pamap2.LABELS.values())
    assert leaves("ecg", "ptb-xl-super") == set(ptb_xl.SUPER.values())
    assert leaves("ecg", "ptb-xl-sub") == set(ptb_xl.SUB.values())
    assert leaves("ecg", "cpsc2018") == set(cpsc2018.LABELS)
    assert leaves("xray", "chestxray14") == set(chestxray14.FINDINGS.values())


def test_ptb_xls_statements_are_those_of_its_table(real_data):
    import pandas as pd

    table = pd.read_csv(real_data / "ecg_ptbxl500" / "scp_statements.csv", index_col=0)
    names = table.description.str.replace(";", ",")
    ecg = get_modality("ecg")
    assert set(label_set(ecg, "ptb-xl-all").leaves) == set(names)
    for task in ("diagnostic", "form", "rhythm"):
        assert set(label_set(ecg, f"ptb-xl-{task}").leaves) == set(names[table[task] == 1])


@pytest.mark.parametrize("modality", [m for m in list_modalities() if m not in ("text", "tone")])
def test_no_sentence_describes_two_labels(modality):
    said = [sentence for sentences in get_modality(modality).descriptions.values() for sentence in sentences]
    assert len(said) == len(set(said))
