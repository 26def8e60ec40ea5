"""The model card: the Hub's header, no ids and no paths, a code example that runs, and figures that are put on it."""

import re

import pytest
from huggingface_hub import EvalResult, ModelCard

from modalign import build_model
from modalign.align.card import NONE, add_result
from modalign.align.privacy import without_paths
from tests.conftest import make_recipe

LABEL = "<script>alert(1)</script>|\n# x"


def figure(value=0.75, split="test", protocol="seen classes, unseen people"):
    args = {"protocol": protocol, "interval": [0.5, 0.9], "beside": {"chance": 0.25}, "rows": 1200}
    return EvalResult("feature-extraction", "tones", "tones", "accuracy", value, dataset_split=split, metric_args=args)


@pytest.fixture
def model(text_checkpoint):
    recipe = make_recipe(text_checkpoint)
    model = build_model(recipe).eval()
    model.record = {
        "labels": ["high", "low", LABEL], "label_counts": {"high": 8, "low": 16}, "rows": 24, "groups": 4,
        "salt": "pepper", "hashed_groups": ["0123456789abcdef"], "official_split": False, "text": "text",
        "recipe": recipe.model_dump(mode="json"),
    }  # fmt: skip
    return model


def test_a_saved_model_has_a_card_with_the_hubs_header(model, text_checkpoint, tmp_path):
    model.save_pretrained(tmp_path / "model")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    header = card.data.to_dict()
    assert header["library_name"] == "modalign"
    assert header["license"] == "other"  # the weights' licence is their owner's to choose
    assert header["pipeline_tag"] == "feature-extraction"
    assert {"modalign", "text", "tone"} <= set(header["tags"])
    assert "model-index" not in header
    for said in ("no medical device", "24 rows of 4 groups", "high (8), low (16)", "split", NONE):
        assert said in card.text
    for secret in ("pepper", "0123456789abcdef", str(text_checkpoint.parent), "More Information Needed"):
        assert secret not in str(card)
    assert "<script>" not in str(card).partition("```python")[0]


def test_the_cards_example_runs(model, tmp_path, monkeypatch, capsys):
    model.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1), {})
    assert "torch.Size([3, 16])" in capsys.readouterr().out


def test_a_model_without_a_record_claims_nothing_of_its_training(text_checkpoint):
    card = build_model(make_recipe(text_checkpoint)).generate_model_card(license="mit", datasets=["user/tones"])
    assert "Not recorded." in card.text
    assert (card.data.license, card.data.datasets) == ("mit", ["user/tones"])
    assert "No licence" not in card.text


def test_figures_are_put_on_the_card_and_older_ones_of_the_same_replaced(model):
    card = model.generate_model_card()
    card.text += "\nWritten by hand.\n"
    for value, split in ((0.25, "test"), (0.5, "val"), (0.75, "test")):
        card = add_result(card, figure(value, split))
    index = card.data.to_dict()["model-index"][0]
    assert index["name"] == "tiny"
    values = {r["dataset"]["split"]: r["metrics"][0]["value"] for r in index["results"]}
    assert values == {"val": 0.5, "test": 0.75}
    lines = [line for line in card.text.splitlines() if line.startswith("| tones")]
    assert lines[-1] == (
        "| tones | test | seen classes, unseen people | accuracy | 0.750 | 0.500 – 0.900 | chance 0.250 | 1,200 |"
    )
    assert len(lines) == 2
    assert NONE not in card.text
    assert "on `val`: figures on them are optimistic" in card.text
    assert "Written by hand." in card.text
    again = ModelCard(str(card))  # what was written is read as it was
    assert again.data.eval_results == card.data.eval_results


def test_a_card_that_a_person_wrote_anew_still_takes_figures():
    card = add_result(ModelCard("# Mine\n\nWords.\n"), figure())
    assert card.data.to_dict()["model-index"][0]["name"] == "Mine"
    assert "Words.\n\n## Figures\n\n" in card.text
    protocols = add_result(card, figure(protocol="held-out classes"))
    assert len(protocols.data.eval_results) == 2


def test_paths_are_cut_to_their_last_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one").touch()
    tree = {
        "a": "/home/ann/bert", "b": ["C:\\data\\x.csv", "~/y", "../z", "a/b/c"], "c": "user/bert", "d": 3, "e": None,
        "f": "a person/animal walks", "g": "runs/one", "h": tmp_path,
    }  # fmt: skip
    assert without_paths(tree) == {
        "a": "bert", "b": ["x.csv", "y", "z", "c"], "c": "user/bert", "d": 3, "e": None,
        "f": "a person/animal walks", "g": "one", "h": tmp_path.name,
    }  # fmt: skip
