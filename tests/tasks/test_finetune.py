"""Fine-tuning: what starts where, what trains, what is saved, and that nothing of the labels leaks into the inputs."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import TrainerCallback

from modalign import AlignmentModel, ManifestError, ModelError, RecipeError, ZeroShotClassifier, build_model
from modalign.align.losses import infonce
from modalign.align.manifest import parse_table
from modalign.modalities import get_modality
from modalign.tasks.finetune import FineTuned, evaluate_finetuned, fine_tune, finetune_config
from modalign.tasks.finetune import run as run_module
from modalign.tasks.finetune.build import build, pairs_for, recipe_for
from modalign.tasks.finetune.run import texts_for
from modalign.tasks.finetune.target import target_of, task_of
from modalign.tasks.finetune.trainer import FinetuneTrainer
from modalign.tasks.fusion import Criterion
from modalign.tasks.training import train
from tests.conftest import make_recipe

FAST = {"training.epochs": 3, "training.batch_size": 8, "training.log_every": 1}


def config_of(**tree):
    tree = {"modalities": ["tone"], **tree}
    training = {"epochs": 3, "batch_size": 8, "log_every": 1, **tree.pop("training", {})}
    return finetune_config({**tree, "training": training})


@pytest.fixture
def base(text_checkpoint):
    return build_model(make_recipe(text_checkpoint)).eval()


@pytest.fixture
def two(text_checkpoint):
    """A model of text and two towers of tones."""
    recipe = make_recipe(text_checkpoint)
    towers = {**recipe.towers, "other": recipe.towers["tone"].model_copy(update={"modality": "tone"})}
    return build_model(make_recipe(text_checkpoint, towers=towers, pairs=[["text", "tone"], ["text", "other"]])).eval()


def both(manifest_file, missing=True):
    """A manifest of two tone columns: the other one is another recording of the same tone, missing in part."""
    table = pd.read_csv(manifest_file, dtype=str, keep_default_na=False)
    table["other"] = [f"{label}-{(int(i.split('-')[1]) + 1) % 12}.txt" for label, i in zip(table["label"], table["id"])]
    table["text"] = ""
    if missing:
        table.loc[table.index % 4 == 1, "tone"] = ""
        table.loc[table.index % 4 == 2, "other"] = ""
    tone = get_modality("tone")
    return parse_table(table, {"text": get_modality("text"), "tone": tone, "other": tone}, root=manifest_file.parent)


def trainer_for(base, manifest, out, config, callbacks=()):
    """As `fine_tune` makes it."""
    pairs, task = pairs_for(base, config), task_of(manifest, config)
    rows, val = task.manifest.split("train"), task.manifest.split("val")
    target = target_of(task, rows, config)
    tuned = build(base, config, target, pairs)
    recipe = recipe_for(base, tuned, pairs)
    texts = texts_for(base, config, target, manifest)
    return FinetuneTrainer(tuned, recipe, rows, val, out, task.numbers, texts, callbacks)


@pytest.mark.parametrize("tune", ["head", "lora", "full"])
def test_it_starts_from_classification_by_prompts(base, manifest, tmp_path, tune):
    tuned = trainer_for(base, manifest, tmp_path, config_of(tune=tune)).tuned.eval()
    files = [row.sources["tone"] for row in manifest.split("test").rows]
    prompts = ZeroShotClassifier(base, "tone", manifest.labels)
    np.testing.assert_allclose(tuned.predict_proba(files), prompts.predict_proba(files), atol=1e-5)
    assert tuned.predict(files) == list(prompts.predict(files))


@pytest.mark.parametrize("how", ["concat", "mean"])
def test_several_modalities_start_from_the_mean_of_their_prompts(two, manifest_file, tmp_path, how):
    manifest = both(manifest_file, missing=False)
    config = config_of(modalities=["tone", "other"], tune="head", fusion={"how": how})
    tuned = trainer_for(two, manifest, tmp_path, config).tuned
    rows = manifest.split("test").rows
    sources = {name: [row.sources[name] for row in rows] for name in ("tone", "other")}
    each = [
        ZeroShotClassifier(two, name, manifest.labels).decision_function(s) / 0.07 for name, s in sources.items()
    ]  # fmt: skip
    np.testing.assert_allclose(tuned.decision_function(sources), (each[0] + each[1]) / 2, atol=1e-4)


def test_it_learns_saves_and_loads_to_the_same_bits(base, manifest, tmp_path, text_checkpoint, without_checkpoints):
    config = config_of(tune="full", training={"epochs": 12, "learning_rate": 0.02})
    tuned = fine_tune(base, manifest, config, tmp_path / "run")
    files = [row.sources["tone"] for row in manifest.split("test").rows]
    truth = [row.labels[0] for row in manifest.split("test").rows]
    assert tuned.score(files, truth) >= 5 / 6
    again = FineTuned.load(tmp_path / "run")
    assert np.array_equal(again.predict_proba(files), tuned.predict_proba(files))
    assert again.predict(files) == tuned.predict(files)
    assert np.array_equal(again.predict_proba(files[1:2])[0].argmax(), tuned.predict_proba(files)[1].argmax())
    folder = tmp_path / "run" / "model"
    assert {p.suffix for p in folder.iterdir()} == {".json", ".safetensors", ".md"}
    assert str(tmp_path) not in "".join(p.read_text() for p in folder.glob("*.json"))
    # the folder is a model's too
    model = AlignmentModel.from_pretrained(folder)
    assert list(model.towers) == ["tone"]
    assert torch.equal(model.embed("tone", files), tuned.aligned.embed("tone", files))
    assert "fine-tuned head" in (folder / "README.md").read_text()
    about = json.loads((folder / "finetune.json").read_text())
    about["target"]["labels"].reverse()
    (folder / "finetune.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="not what was saved"):
        FineTuned.load(folder)


def test_a_model_without_a_head_is_refused(base, tmp_path):
    base.save_pretrained(tmp_path / "m")
    with pytest.raises(ModelError, match="without a head; make one with modalign finetune"):
        FineTuned.load(tmp_path / "m")


@pytest.mark.parametrize("tune", ["head", "lora", "full"])
@pytest.mark.parametrize("contrastive", [0.0, 0.5])
def test_what_is_tuned_and_what_stays(base, manifest, tmp_path, tune, contrastive):
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    config = config_of(tune=tune, contrastive=contrastive, training={"epochs": 2, "learning_rate": 0.01})
    tuned = fine_tune(base, manifest, config, tmp_path / "run")
    assert all(torch.equal(base.state_dict()[name], tensor) for name, tensor in before.items())
    assert ("text" in tuned.aligned.towers) == bool(contrastive)
    changed = set()
    for name, tensor in tuned.aligned.state_dict().items():
        plain = name.replace("base_model.model.", "").replace(".base_layer", "")
        if ".lora_" in name:
            if ".lora_B" in name and tensor.any():
                changed.add("lora")
        elif not torch.equal(tensor, before[plain]):
            changed.add(".".join(plain.split(".")[:3]))
    encoder = {"head": set(), "lora": {"lora"}, "full": {"towers.tone.encoder"}}[tune]
    assert changed == (encoder | {"towers.tone.projection"} if tune != "head" else set())
    tuned.train()
    assert tuned.aligned.tower("tone").training == (tune != "head")
    if contrastive:
        assert not tuned.aligned.tower("text").training


def test_lora_is_folded_in_before_and_after(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint)
    towers = {**recipe.towers, "tone": recipe.towers["tone"].model_copy(update={"tune": "lora"})}
    base = build_model(make_recipe(text_checkpoint, towers=towers)).eval()
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    files = [row.sources["tone"] for row in manifest.rows[:4]]
    tuned = trainer_for(base, manifest, tmp_path, config_of(tune="lora", lora={"r": 2})).tuned
    torch.testing.assert_close(tuned.aligned.embed("tone", files), base.embed("tone", files), atol=1e-5, rtol=1e-4)
    assert base.tower("tone").config.tune == "lora"
    trained = fine_tune(base, manifest, config_of(lora={"r": 2}), tmp_path / "run")
    p = trained.predict_proba(files)
    np.testing.assert_allclose(trained.merge().predict_proba(files), p, atol=1e-5)


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


@pytest.mark.parametrize("stop", [3, 4])
@pytest.mark.parametrize("how", ["concat", "sequential"])
def test_interrupted_and_resumed_gives_the_same_weights(two, manifest_file, tmp_path, stop, how):
    config = config_of(
        modalities=["tone", "other"],
        lora={"r": 2, "dropout": 0.2},
        contrastive=0.3,
        fusion={"how": how, "modality_dropout": 0.4, "dropout": 0.1},
        augment={"tone": [{"name": "gain"}]},
        training={"learning_rate": 0.01},
    )
    manifest = both(manifest_file)
    whole = trainer_for(two, manifest, tmp_path / "whole", config)
    whole.train()
    broken = trainer_for(two, manifest, tmp_path / "broken", config, [StopAt(stop)])
    broken.train()
    torch.manual_seed(999)
    resumed = trainer_for(two, manifest, tmp_path / "broken", config)
    found = resumed.resume()
    assert found.name == f"checkpoint-{stop}"
    resumed.train(resume_from_checkpoint=str(found))
    assert resumed.state.global_step == whole.state.global_step > stop
    for name, tensor in whole.tuned.state_dict().items():
        assert torch.equal(tensor, resumed.tuned.state_dict()[name]), name


def test_a_run_is_resumed_only_as_it_was_begun(base, text_checkpoint, manifest, tmp_path):
    fine_tune(base, manifest, config_of(), tmp_path / "run")
    with pytest.raises(ModelError, match="pass --resume"):
        fine_tune(base, manifest, config_of(), tmp_path / "run")
    with pytest.raises(ModelError, match="begun with another contrastive"):
        fine_tune(base, manifest, config_of(contrastive=0.1), tmp_path / "run", resume=True)
    other = build_model(make_recipe(text_checkpoint, seed=5))
    with pytest.raises(ModelError, match="begun from another model"):
        fine_tune(other, manifest, config_of(), tmp_path / "run", resume=True)
    tuned = fine_tune(base, manifest, config_of(), tmp_path / "run", resume=True)
    files = [row.sources["tone"] for row in manifest.rows[:3]]
    assert np.array_equal(FineTuned.load(tmp_path / "run").predict_proba(files), tuned.predict_proba(files))


def test_the_contrastive_term_is_added_with_its_weight_and_moves_no_text(base, manifest, tmp_path):
    trainer = trainer_for(base, manifest, tmp_path, config_of(tune="full", contrastive=0.25))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.tuned.eval()
    output = trainer.tuned(batch["inputs"], batch["rows"])
    head = Criterion("single")(output.head, batch["targets"])
    pair = batch["pairs"][0]
    x, y = (output.aligned.embeddings[pair[end]][pair[f"{end}_index"]] for end in "ab")
    contrast = infonce(x, y, output.aligned.scale, pair["groups"])
    loss = trainer.compute_loss(trainer.tuned, batch)
    torch.testing.assert_close(loss, head + 0.25 * contrast)
    loss.backward()
    moved = {name.split(".")[2] for name, p in trainer.tuned.aligned.named_parameters() if p.grad is not None}
    assert moved == {"encoder", "projection"}
    assert all(p.grad is None for p in trainer.tuned.aligned.tower("text").parameters())
    alone = trainer_for(base, manifest, tmp_path / "alone", config_of(tune="full"))
    batch = next(iter(alone.get_train_dataloader()))
    assert batch["pairs"] == []
    assert set(batch["inputs"]) == {"tone"}


def numbered(manifest, offset=40.0, scale=9.0):
    """Ages that the tone tells."""
    table = manifest.table.copy()
    pitch = {"low": 0, "middle": 1, "high": 2}
    table["age"] = [str(offset + scale * pitch[label]) for label in table["label"]]
    table.loc[5, "age"] = ""
    return replace(manifest, table=table)


def test_regression_is_in_the_columns_own_units(base, manifest, tmp_path):
    manifest = numbered(manifest)
    config = config_of(
        head="regression", target="age", tune="full", features="tower", training={"epochs": 25, "learning_rate": 0.03}
    )
    tuned = fine_tune(base, manifest, config, tmp_path / "run")
    target = tuned.target
    ages = [float(a) for a, s in zip(manifest.table["age"], manifest.table["split"]) if s == "train" and a]
    assert target.mean == pytest.approx(np.mean(ages))
    assert target.sd == pytest.approx(np.std(ages))
    assert len(ages) == 23
    rows = manifest.split("test")
    files, truth = [r.sources["tone"] for r in rows.rows], rows.table["age"].astype(float).to_numpy()
    said = tuned.predict(files)
    assert np.abs(said - truth).mean() < 5
    again = FineTuned.load(tmp_path / "run")
    assert np.array_equal(again.predict(files), said)
    evaluation = evaluate_finetuned(tuned, manifest, base=base, by=["label"])
    assert [r.name for r in evaluation.results] == ["mean of train", "linear", "probe", "modalign"]
    by = evaluation.tables[-1]
    assert [row[:3] for row in by.rows] == [["high", 2, 58.0], ["low", 2, 40.0], ["middle", 2, 49.0]]
    assert np.mean([row[3] for row in by.rows]) == pytest.approx(np.abs(said - truth).mean())
    table = evaluation.tables[0]
    found = dict(zip(table.columns, table.rows[-1]))
    assert float(found["MAE"]) == pytest.approx(np.abs(said - truth).mean(), rel=5e-3)
    assert float(found["RMSE"]) == pytest.approx(((said - truth) ** 2).mean() ** 0.5, rel=5e-3)
    assert tuned.score(files, truth) == pytest.approx(evaluation.main.value)
    evaluation.save(tmp_path / "e")
    found = pd.read_parquet(tmp_path / "e" / "predictions.parquet")
    np.testing.assert_allclose(found["truth"], truth)
    np.testing.assert_allclose(found["predicted"], said)
    with pytest.raises(RecipeError, match="not probabilities"):
        tuned.predict_proba(files)


def test_a_figure_of_numbers_does_not_depend_on_their_unit(base, manifest, tmp_path):
    """Years or days: the same predictions, since the head learns standardised numbers."""
    config = config_of(head="regression", target="age", tune="head", features="tower")
    years = fine_tune(base, numbered(manifest), config, tmp_path / "years")
    days = fine_tune(base, numbered(manifest, 40 * 365, 9 * 365), config, tmp_path / "days")
    files = [r.sources["tone"] for r in manifest.split("test").rows]
    np.testing.assert_allclose(days.predict(files) / 365, years.predict(files), rtol=1e-5)


def several(manifest):
    """Every tone is also loud or quiet, as its row is odd or even."""
    rows = [replace(r, labels=(r.labels[0], "loud" if i % 2 else "quiet")) for i, r in enumerate(manifest.rows)]
    made = replace(manifest, rows=rows)
    made.vocabulary = made.labels
    return made


def test_several_labels_a_row(base, manifest, tmp_path):
    manifest = several(manifest)
    trainer = trainer_for(base, manifest, tmp_path / "t", config_of(tune="head"))
    assert trainer.tuned.target.kind == "multi"
    train_files = [row.sources["tone"] for row in manifest.split("train").rows]
    # the head starts from the prompts' ranking, and at each label's own odds
    logits = trainer.tuned.decision_function(train_files)
    prompts = ZeroShotClassifier(base, "tone", manifest.labels).decision_function(train_files)
    for c in range(5):
        assert np.array_equal(np.argsort(logits[:, c]), np.argsort(prompts[:, c]))
    share = np.array([[label in r.labels for label in manifest.labels] for r in manifest.split("train").rows]).mean(0)
    np.testing.assert_allclose(logits.mean(0), np.log(share / (1 - share)), atol=1e-3)
    tuned = fine_tune(
        base, manifest, config_of(tune="full", training={"epochs": 10, "learning_rate": 0.02}), tmp_path / "run"
    )
    assert len(tuned.target.thresholds) == 5
    test = manifest.split("test").rows
    predicted = tuned.predict([row.sources["tone"] for row in test])
    assert all(isinstance(p, tuple) for p in predicted)
    evaluation = evaluate_finetuned(tuned, manifest, base=base)
    assert evaluation.metric == "macro AUROC"
    assert evaluation.main.value > 0.6
    names = [r.name for r in evaluation.results]
    assert names == ["chance", "linear", "prompts", "probe", "modalign"]
    decided = evaluation.main.decided
    assert [tuple(manifest.labels[c] for c in np.flatnonzero(row)) for row in decided] == predicted
    loaded = FineTuned.load(tmp_path / "run")
    assert loaded.predict([row.sources["tone"] for row in test]) == predicted


def test_fused_towers_with_missing_ones(two, manifest_file, tmp_path):
    manifest = both(manifest_file)
    config = config_of(
        modalities=["tone", "other"],
        tune="full",
        fusion={"how": "concat", "modality_dropout": 0.3},
        training={"epochs": 12, "learning_rate": 0.02},
    )
    tuned = fine_tune(two, manifest, config, tmp_path / "run")
    test = manifest.split("test")
    assert {len(r.sources) for r in test.rows} == {1, 2}
    sources = {name: [row.sources.get(name) for row in test.rows] for name in ("tone", "other")}
    evaluation = evaluate_finetuned(tuned, manifest, base=two)
    np.testing.assert_allclose(tuned.decision_function(sources), evaluation.main.scores, atol=1e-5)
    alone = tuned.decision_function({"tone": [test.rows[0].sources["tone"]]})
    hidden = tuned.decision_function({"tone": [test.rows[0].sources["tone"]], "other": [None]})
    assert np.array_equal(alone, hidden)
    assert evaluation.main.value >= 4 / 6
    table = evaluation.tables[-1]
    assert table.title == "By the modalities that were there"
    assert [row[0] for row in table.rows] == ["tone", "other", "tone + other"]
    assert [row[1] for row in table.rows] == [sum(n in r.sources for r in test.rows) for n in ("tone", "other")] + [
        sum(len(r.sources) == 2 for r in test.rows)
    ]
    again = FineTuned.load(tmp_path / "run")
    assert np.array_equal(again.decision_function(sources), tuned.decision_function(sources))


def test_a_batch_says_which_input_is_whose(two, manifest_file, tmp_path):
    manifest = both(manifest_file)
    trainer = trainer_for(two, manifest, tmp_path, config_of(modalities=["tone", "other"], tune="full"))
    rows = trainer.train_rows
    batch = trainer._collator()([rows[i] for i in range(8)])
    labels = trainer.tuned.target.labels
    for i in range(8):
        row = rows.manifest.rows[i]
        assert labels[batch["targets"][i]] == row.labels[0]
        for name in ("tone", "other"):
            assert bool(batch["rows"][name]["present"][i]) == (name in row.sources)
            if name in row.sources:
                k = batch["rows"][name]["index"][i]
                values = np.loadtxt(row.sources[name], dtype=np.float32)
                own = batch["inputs"][name]["values"][k, 0, : len(values)]
                np.testing.assert_allclose(own, values / rows.processing[name].scale, rtol=1e-6)


def test_a_batch_without_a_modality_still_trains(two, manifest_file, tmp_path):
    manifest = both(manifest_file)
    trainer = trainer_for(two, manifest, tmp_path, config_of(modalities=["tone", "other"], tune="full"))
    only = [i for i, r in enumerate(trainer.train_rows.manifest.rows) if "other" not in r.sources]
    batch = trainer._collator()([trainer.train_rows[i] for i in only])
    assert "other" not in batch["inputs"]
    loss = trainer.compute_loss(trainer.tuned.train(), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert trainer.tuned.aligned.tower("tone").encoder.mix.weight.grad.abs().sum() > 0


def test_captions_made_of_labels_are_no_inputs(base, manifest, tmp_path):
    """A head that reads text must not read what was made of the row's own label."""
    config = config_of(modalities=["tone", "text"], tune="head", start="random")
    trainer = trainer_for(base, manifest, tmp_path, config)
    rows = trainer.train_rows.manifest.rows
    batch = trainer._collator()([trainer.train_rows[i] for i in range(len(rows))])
    assert batch["rows"]["text"]["present"].tolist() == ["text" in row.sources for row in rows]
    assert not batch["rows"]["text"]["present"].all()
    evaluation = evaluate_finetuned(trainer.tuned.eval(), manifest)
    assert [row[1] for row in evaluation.tables[-1].rows] == [6, 3, 3]


def test_class_weights_choose_by_balanced_accuracy(base, manifest, tmp_path):
    rare = [i for i, r in enumerate(manifest.rows) if r.labels[0] != "high" or r.split != "train" or r.id == "high-0"]
    manifest = manifest.take(rare)
    plain = trainer_for(base, manifest, tmp_path / "a", config_of())
    balanced = trainer_for(base, manifest, tmp_path / "b", config_of(class_weights="balanced"))
    assert plain.criterion.weights is None
    weights = dict(zip(balanced.tuned.target.labels, balanced.criterion.weights.tolist()))
    assert weights["high"] == pytest.approx(8 * weights["low"])
    assert plain.best_figures[0] == "accuracy"
    assert balanced.best_figures[0] == "balanced_accuracy"
    assert balanced.evaluate()["eval_best"] == balanced._figures()["balanced_accuracy"]


def test_the_evaluation_names_its_protocol_and_baselines(text_checkpoint, manifest, tmp_path):
    recipe = make_recipe(text_checkpoint, training={"epochs": 4, "batch_size": 12, "learning_rate": 0.02})
    base = train(recipe, manifest, tmp_path / "base")
    twin = AlignmentModel.from_pretrained(tmp_path / "base" / "untrained")
    tuned = fine_tune(base, manifest, config_of(contrastive=0.1), tmp_path / "run")
    evaluation = evaluate_finetuned(tuned, manifest, base=base, untrained=twin)
    names = [r.name for r in evaluation.results]
    assert names == ["chance", "untrained", "linear", "prompts", "probe", "prompts, tuned", "modalign"]
    assert evaluation.protocol == "seen classes, unseen people"
    assert evaluation.main.interval is not None
    assert {"Figures", "Classes", "Calibration"} <= {t.title for t in evaluation.tables}
    # a base that saw the people of test is told
    tuned.record["base"] = run_module.record_of(base, tuned, manifest, manifest, "x", {})
    assert "people whom the base model had seen" in evaluate_finetuned(tuned, manifest).protocol
    # a label of test that training lacked is never chosen, and told
    strange = [replace(r, labels=("new",)) if r.id == "low-10" else r for r in manifest.rows]
    found = evaluate_finetuned(tuned, replace(manifest, rows=strange))
    assert found.labels == ["high", "low", "middle", "new"]
    assert not (found.main.scores.argmax(1) == 3).any()
    assert any("No train row has new" in note for note in found.notes)


MISTAKES = {
    "regression without a column": ({"head": "regression"}, RecipeError, "needs the manifest's column"),
    "no column": ({"head": "regression", "target": "agee"}, ManifestError, "no column 'agee' to learn"),
    "words": ({"head": "regression", "target": "label"}, ManifestError, "holds 'low', which is no number"),
    "constant": ({"head": "regression", "target": "one"}, ManifestError, "is 1 in all train rows"),
    "one label": ({"target": "same"}, ManifestError, "have 1 labels; a head needs two"),
    "no tower": ({"modalities": ["tonne"]}, ManifestError, "no row has a label and one of tonne"),
    "twice": ({"modalities": ["tone", "tone"]}, RecipeError, "one stands twice"),
    "key": ({"lora": {"rank": 2}}, RecipeError, "finetune: lora.rank: no such key"),
    "augment": ({"augment": {"text": []}}, RecipeError, "'text' is none of the modalities tone"),
    "idle augment": ({"tune": "head", "augment": {"tone": [{"name": "gain"}]}}, RecipeError, "encoded once"),
    "start": ({"start": "text", "features": "tower"}, RecipeError, "start: text needs features: aligned"),
    "weights": ({"head": "regression", "target": "age", "class_weights": "balanced"}, RecipeError, "are for classes"),
    "targets": ({"lora": {"targets": ["nothing"]}}, RecipeError, "lora.targets"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, base, manifest, tmp_path):
    tree, kind, message = MISTAKES[mistake]
    table = manifest.table.assign(one="1", same="a")
    with pytest.raises(kind, match=message):
        fine_tune(base, replace(manifest, table=table), config_of(**tree), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_mistakes_of_sources(two, manifest_file, tmp_path):
    manifest = both(manifest_file, missing=False)
    tuned = trainer_for(two, manifest, tmp_path, config_of(modalities=["tone", "other"], tune="head")).tuned
    file = manifest.rows[0].sources["tone"]
    with pytest.raises(RecipeError, match="give a mapping of tone, other"):
        tuned.predict([file])
    with pytest.raises(RecipeError, match="no modality 'tonne' in this head; did you mean 'tone'"):
        tuned.predict({"tonne": [file]})
    with pytest.raises(RecipeError, match="as many sources of each"):
        tuned.predict({"tone": [file], "other": []})
    with pytest.raises(RecipeError, match="item 1 has none of tone, other"):
        tuned.predict({"tone": [file, None], "other": [file, None]})
    assert tuned.predict({"tone": [], "other": []}) == []


def test_a_head_on_real_ecgs(text_checkpoint, real_data, tmp_path):
    """Every twelfth of 500 records of PTB-XL: superclasses, several a record, and age in years."""
    from modalign.datasets.registry import prepare
    from modalign.tasks.training import open_manifest

    path = prepare("ptb-xl", real_data / "ecg_ptbxl500", tmp_path / "manifest.csv", {"text": "none"})
    table = pd.read_csv(path, dtype=str, keep_default_na=False)[::12]
    said = pd.read_csv(real_data / "ecg_ptbxl500" / "manifest.csv")[["ecg_id", "age"]][::12]
    table["age"] = said["age"].astype(str).to_numpy()
    assert [int(i.split("-")[1]) for i in table["id"]] == said["ecg_id"].tolist()
    table["split"] = ["test" if i % 4 == 3 else "val" if i % 4 == 2 else "train" for i in range(len(table))]
    table.drop_duplicates("group").to_csv(path, index=False)
    towers = {
        "text": {"options": {"checkpoint": str(text_checkpoint)}, "tune": "frozen", "projection": {"kind": "linear"}},
        "ecg": {"encoder": "cnn", "processing": {"rate": 100, "seconds": 10.0}, "projection": {"kind": "linear"}},
    }
    base = build_model(make_recipe(text_checkpoint, towers=towers, pairs=[["text", "ecg"]]))
    manifest = open_manifest(base.source, path)
    rows = manifest.split("test").rows
    files = [row.sources["ecg"] for row in rows]
    classes = fine_tune(base, manifest, config_of(modalities=["ecg"], contrastive=0.1), tmp_path / "classes")
    assert classes.target.kind == "multi"
    assert classes.predict_proba(files).shape == (len(rows), len(classes.target.labels))
    statistics = {name: t for name, t in base.state_dict().items() if "running_" in name and "ecg" in name}
    tuned = {name.replace("base_model.model.", ""): t for name, t in classes.aligned.state_dict().items()}
    assert statistics
    assert all(torch.equal(tuned[name], t) for name, t in statistics.items())  # LoRA moves no BatchNorm
    evaluation = evaluate_finetuned(classes, manifest, base=base)
    np.testing.assert_allclose(evaluation.main.scores[:, 0], classes.decision_function(files)[:, 0], atol=1e-4)
    age = config_of(modalities=["ecg"], head="regression", target="age", tune="full", features="tower")
    years = fine_tune(base, manifest, age, tmp_path / "age")
    assert 20 < years.predict(files).mean() < 90
    assert "units of 'age'" in evaluate_finetuned(years, manifest).tables[0].note


def test_the_bar_of_a_negative_interval_stays_in_its_place():
    from modalign.tasks.report.markup import bar

    assert "left:0.0%;width:60.0%" in bar(0.2, (-0.5, 0.6))
