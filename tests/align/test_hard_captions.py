"""Wrong captions by rule, and further captions from the manifest up to the loss."""

import pytest
import torch

from modalign import ManifestError, build_model
from modalign.align.collate import Collator
from modalign.align.data import AlignmentDataset
from modalign.align.hard_captions import hard_captions
from modalign.align.losses import compa
from modalign.align.manifest import parse_table
from modalign.align.trainer import AlignmentTrainer
from modalign.modalities import get_modality
from tests.conftest import make_recipe, read_table


@pytest.mark.parametrize(
    ("caption", "rules", "expected"),
    [
        ("a dog barks, followed by rain.", ["order"], ("rain followed by a dog barks.",)),
        ("a person walks and then sits", ["order"], ("sits and then a person walks",)),
        ("a dog barks", ["order", "attributes"], ()),
        ("Increased opacity in the left upper lobe", ["attributes"], ("decreased opacity in the right lower lobe",)),
        ("no pneumonia", ["negation"], ("pneumonia",)),
        ("pneumonia without effusion", ["negation"], ()),
        ("low tone", ["attributes", "negation"], ("high tone", "no low tone")),
        ("normothermia", ["attributes"], ()),  # only whole words
    ],
)
def test_rules(caption, rules, expected):
    assert hard_captions(caption, rules) == expected


def with_captions(manifest_file):
    table = read_table(manifest_file)
    table["text.hard"] = ["a high tone | a quiet tone" if i % 3 == 0 else "" for i in range(len(table))]
    table["text.parts"] = ["tone" if i % 2 == 0 else "" for i in range(len(table))]
    return parse_table(table, {"text": get_modality("text"), "tone": get_modality("tone")}, root=manifest_file.parent)


@pytest.mark.parametrize("tune", ["frozen", "full"])
def test_from_the_manifest_to_the_loss(text_checkpoint, manifest_file, tmp_path, tune):
    towers = make_recipe(text_checkpoint).model_dump()["towers"]
    towers["text"]["tune"] = tune
    recipe = make_recipe(text_checkpoint, towers=towers, loss={"name": "compa"})
    manifest = with_captions(manifest_file)
    rows = manifest.split("train")
    trainer = AlignmentTrainer(build_model(recipe), recipe, rows, manifest.split("val"), tmp_path)
    trainer.model.eval()
    items = [trainer.train_rows[i] for i in range(8)]
    batch = trainer._collator()(items)
    (pair,) = batch["pairs"]
    assert pair["captions"] == "text"
    assert pair["parts"] is None  # compa takes none
    said = [items[n].captions["text"].get("hard", ()) for n in range(8)]
    assert [(row >= 0).sum().item() for row in pair["hard"]] == [len(captions) for captions in said]
    assert {2, 0} == {len(captions) for captions in said}
    value = trainer.compute_loss(trainer.model, batch)
    model = trainer.model
    x = model.embed("tone", [row.sources["tone"] for row in rows.rows[:8]])
    y = model.embed("text", [item.keys["text"][0] for item in items])
    hard = torch.zeros(8, 2, 16)
    mask = torch.zeros(8, 2, dtype=torch.bool)
    for n, captions in enumerate(said):
        if captions:
            hard[n, : len(captions)] = model.embed("text", list(captions))
            mask[n, : len(captions)] = True
    expected = compa(x, y, model.temperature().detach(), pair["groups"], hard, mask)
    torch.testing.assert_close(value.detach(), expected, atol=1e-5, rtol=1e-5)
    trainer.train()


def test_by_rule_and_for_the_losses_that_take_them_alone(text_checkpoint, manifest):
    recipe = make_recipe(text_checkpoint)
    model = build_model(recipe)
    towers = {name: model.tower(name) for name in model.towers}
    i = next(i for i, row in enumerate(manifest.rows) if "text" in row.sources and row.labels == ("low",))
    asked = AlignmentDataset(manifest, towers, captions={"hard"}, rules=["attributes"], train=True)
    assert asked[i].captions["text"] == {"hard": ("a high tone is heard",)}
    assert ("a high tone is heard",) in asked.keys_of(i, "text")
    assert AlignmentDataset(manifest, towers, train=True)[i].captions["text"] == {}
    batch = Collator(asked, recipe.pairs, {})([asked[i], asked[i + 1]])
    assert batch["pairs"][0]["hard"].shape == (2, 1)


def test_a_wrong_column_is_refused(manifest_file):
    table = read_table(manifest_file).rename(columns={"cluster": "text.hardd"})
    with pytest.raises(ManifestError, match="did you mean 'hard'"):
        parse_table(table, {"text": get_modality("text"), "tone": get_modality("tone")}, root=manifest_file.parent)
