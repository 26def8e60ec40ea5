"""Ensembles of prompts: exact values, and agreement with open_clip on the same embeddings."""

import math

import pytest
import torch
from torch.nn import functional as F

from modalign import RecipeError, ZeroShotClassifier, build_model
from modalign.tasks.ensembles import ENSEMBLES, get_ensemble
from tests.conftest import make_recipe


def angles(*degrees):
    a = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([a.cos(), a.sin()], dim=1)


HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("name", "expected"),
    # an item at 0 degrees; classes of prompts at 0 and 90 degrees, and at 60 alone
    [("mean_embedding", [HALF, 0.5]), ("mean_score", [0.5, 0.5]), ("max", [1.0, 0.5])],
)
def test_values(name, expected):
    scores = get_ensemble(name)(angles(0), [angles(0, 90), angles(60)])
    torch.testing.assert_close(scores, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize("name", ENSEMBLES)
def test_one_prompt_a_class_makes_all_ensembles_the_cosine(name):
    items, prompts = F.normalize(torch.randn(5, 8), dim=1), F.normalize(torch.randn(3, 8), dim=1)
    torch.testing.assert_close(ENSEMBLES[name](items, prompts.split(1)), items @ prompts.T)


def test_an_unknown_name_is_refused():
    with pytest.raises(RecipeError, match="no ensemble 'maxx'; did you mean 'max'"):
        get_ensemble("maxx")


class Texts(list):
    def to(self, device):
        return self


class OpenClipFace:
    """A model as open_clip's classifier builder asks for it."""

    def __init__(self, model):
        self.model = model

    def encode_text(self, texts, normalize):
        assert normalize
        return self.model.embed("text", texts)


def test_the_mean_embedding_is_open_clips(text_checkpoint):
    open_clip = pytest.importorskip("open_clip.zero_shot_classifier")
    model = build_model(make_recipe(text_checkpoint)).eval()
    labels, templates = ["low", "middle", "high", "loud steady"], ["a {label} tone", "the sound is {label}", "{label}"]
    with_braces = [t.replace("{label}", "{}") for t in templates]
    weights = open_clip.build_zero_shot_classifier(OpenClipFace(model), Texts, labels, with_braces, 3)
    classifier = ZeroShotClassifier(model, "tone", labels, templates)
    torch.testing.assert_close(classifier.class_embeddings, weights.T)
    items = F.normalize(torch.randn(6, model.dim), dim=1)
    torch.testing.assert_close(torch.tensor(classifier.decision_function(items)), items @ weights)
