"""The report: nothing of a user's becomes markup, nothing is loaded, nothing of patients is shown unasked."""

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modalign import RecipeError, get_modality
from modalign.align.manifest import Row
from modalign.align.metrics import Calibration
from modalign.cli.app import app
from modalign.errors import MissingExtraError
from modalign.tasks.evaluate import evaluate_zero_shot
from modalign.tasks.evaluation import Evaluation, Result, Table
from modalign.tasks.predictions import indicator
from modalign.tasks.report import gallery, render
from modalign.tasks.report.classes import class_section
from modalign.tasks.report.drawing import ticks
from modalign.tasks.report.examples import picks
from modalign.tasks.report.maps import check_projection, pca
from modalign.tasks.report.reliability import reliability_chart
from modalign.tasks.training import train
from tests.conftest import make_recipe
from tests.tone import Tone

BAD = "<script>alert(1)</script>'\"&"
VOID = {"meta", "br", "img", "path", "rect", "circle", "line"}


class Page(HTMLParser):
    """The elements of a page, checked to be closed as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check(text):
    """A page that loads nothing and runs nothing; its pictures have words."""
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "image", "use"} & set(page.tags)
    for tag, key, value in page.attributes:
        assert not key.startswith("on"), (tag, key)
        assert key not in ("href", "xlink:href", "srcset", "action"), (tag, key)
        if key == "src":
            assert value.startswith("data:image/"), tag
    assert not re.search(r"@import|url\(|https?:", text)
    pictures = [(tag, dict_) for tag, dict_ in _elements(page) if tag == "img" or dict_.get("role") == "img"]
    assert all(d.get("alt") or d.get("aria-label") for _, d in pictures)
    return page


def _elements(page):
    grouped = []
    for tag, key, value in page.attributes:
        if not grouped or grouped[-1][0] != tag or key in grouped[-1][1]:
            grouped.append((tag, {}))
        grouped[-1][1][key] = value
    return grouped


def evaluation(count=3, rows=60, several=False, names=None, scale=14.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = names or [f"class {c}" for c in range(count)]
    classes = torch.nn.functional.normalize(torch.tensor(generator.normal(size=(count, 8))), dim=1).float()
    own = [[i % count] + ([(i + 1) % count] if several and i % 3 == 0 else []) for i in range(rows)]
    items = torch.stack([classes[c].sum(0) for c in own]) + 0.3 * torch.tensor(generator.normal(size=(rows, 8))).float()
    items = torch.nn.functional.normalize(items, dim=1)
    scores = (items @ classes.T).numpy()
    made = [
        Row(f"id{i}", "test", f"patient{i // 4}", f"rec{i}", tuple(labels[c] for c in own[i]), {}, {})
        for i in range(rows)
    ]
    results = [Result("chance", 1 / count), Result("modalign", 0.9, (0.8, 0.95), scores)]
    metric = "macro AUROC" if several else "accuracy"
    return Evaluation("title", "protocol", metric, labels, made, results, [], [], items, classes, scale)


def truth_of(one):
    return indicator([row.labels for row in one.rows], one.labels)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("count", [2, 20])
def test_nothing_of_a_users_becomes_markup(several, count):
    names = [f"{BAD} {c}" for c in range(count)]
    one = evaluation(count, several=several, names=names)
    one.title, one.protocol, one.notes = f"t {BAD}", f"p {BAD}", [f"n {BAD}"]
    one.results[0] = Result(f"m {BAD}", 0.5, None, None, f"note {BAD}")
    one.tables = [Table(f"table {BAD}", [BAD, "x"], [[BAD, 0.5], ["y", float("nan")]], f"of {BAD}")]
    page = check(render(f"page {BAD}", [one], [(BAD, BAD)], command=f"modalign {BAD}", recipe={BAD: [BAD]}))
    words = "".join(page.words)
    for said in (f"page {BAD}", f"t {BAD}", f"p {BAD}", f"n {BAD}", f"note {BAD}", f"modalign {BAD}", names[1]):
        assert said in words
    assert ("Confusion matrix" in words) != several
    assert ("Scores of each label" in words) == several
    assert ("commonest mistakes" in words) == (count == 20 and not several)


def test_a_page_of_fifty_classes_and_many_rows_stays_small():
    page = render("fifty", [evaluation(50, 5000)])
    check(page)
    assert len(page) < 1_000_000


@pytest.mark.parametrize("change", ["no scores", "other scores", "one row", "no embeddings"])
def test_whatever_an_evaluation_lacks_is_left_out(change):
    one = evaluation()
    if change == "no scores":
        one.results = [Result("a", 0.5), Result("b", float("nan")), Result("median rank", 12.0)]
    elif change == "other scores":  # of another kind than one column a label
        one.results = [Result("a", 0.5, None, one.main.scores)]
        one.rows = one.rows[:3]
    elif change == "one row":
        one = evaluation(rows=1)
    else:
        one.embeddings = None
    page = check(render("title", [one]))
    assert ("Map of embeddings" in "".join(page.words)) == (change == "no scores")


@pytest.mark.parametrize("several", [False, True])
def test_bars_are_scikit_learns_figures_the_lowest_first(several):
    from sklearn.metrics import recall_score, roc_auc_score

    one = evaluation(count=4, rows=90, several=several)
    truth, scores = truth_of(one), one.main.scores
    if several:
        expected = [roc_auc_score(truth[:, c], scores[:, c]) for c in range(4)]
    else:
        expected = recall_score(truth.argmax(1), scores.argmax(1), average=None)
    words = [w.strip() for w in Page(class_section(one, one.main)).words]
    shown = [words[k + 2] for k, w in enumerate(words) if w.startswith("class ")]
    assert shown == [f"{v:.3f}" for v in sorted(expected)]


def test_reliability_at_the_models_own_temperature_and_as_fitted_on_val():
    one = evaluation()
    right = float((one.main.scores.argmax(1) == truth_of(one).argmax(1)).mean())
    one.scale = 1e6  # as sure as can be: the error is the share that is wrong
    page = reliability_chart(one, one.main)
    assert f"calibration error {1 - right:.3f}, mean confidence 1.000, right {right:.3f}" in page
    assert "fitted on val" not in page
    one.fitted = Calibration((10.0,))
    assert "fitted on val" in check(reliability_chart(one, one.main)).words
    one.scale = one.fitted = None
    assert not reliability_chart(one, one.main)
    several = evaluation(several=True)
    assert not reliability_chart(several, several.main)  # cosines are no probabilities there
    several.fitted = Calibration((8.0, 8.0, float("nan")), (-4.0, -4.0, float("nan")), several=True)
    assert "confidence of every label" in reliability_chart(several, several.main)


def test_maps(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(40, 6)) * [9, 4, 1, 1, 1, 1]
    placed, said = pca(rows)
    assert abs(np.corrcoef(placed[:, 0], rows[:, 0])[0, 1]) > 0.99
    np.testing.assert_allclose(placed, pca(rows[:, [0, 1, 2, 3, 4, 5]])[0])
    assert "of the variance" in said
    assert "0.0 " in f"{ticks(0, 1)[0]} "
    with pytest.raises(RecipeError, match="--map 'umpa' is not known: did you mean 'umap'"):
        check_projection("umpa")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"modalign\[umap\]"):
        check_projection("umap")


@pytest.mark.slow
def test_a_map_by_umap():
    pytest.importorskip("umap")
    assert "UMAP by cosine" in "".join(check(render("t", [evaluation(rows=30)], projection="umap")).words)


def test_examples_are_the_surest_right_and_the_surest_wrong():
    one = evaluation(rows=90)
    scores, truth = one.main.scores, truth_of(one).argmax(1)
    found = picks(one, 3)
    nearest, confused = ([p for p in found if p.kind == kind] for kind in ("nearest", "confused"))
    assert {p.label for p in nearest} == set(one.labels)  # each from another class
    for pick in nearest:
        right = (scores.argmax(1) == truth) & (truth == one.labels.index(pick.label))
        assert pick.score == pytest.approx(scores[right, truth[right]].max())
    margin = scores.max(1) - scores[np.arange(len(truth)), truth]
    worst = margin.argmax()
    assert (confused[0].row, confused[0].own) == (worst, one.labels[truth[worst]])
    assert confused[0].score - confused[0].own_score == pytest.approx(margin[worst])
    assert all(scores[p.row].argmax() != truth[p.row] for p in confused)
    several = evaluation(rows=90, several=True)
    several.main.scores[:, 0] += 100  # a label whose scores are all higher is not for that the nearest of every row
    assert len({pick.label for pick in picks(several, 3) if pick.kind == "nearest"}) == 3
    for r in range(len(one.rows)):  # all windows of one recording
        one.rows[r] = Row(one.rows[r].id, "test", "g", "same", one.rows[r].labels, {}, {})
    assert len(picks(one, 3)) == 2


@pytest.fixture
def run(text_checkpoint, manifest, tmp_path, monkeypatch):
    def plot(self, signal, ax, relevance=None):
        ax.plot(signal.data[0])
        ax.set_title("a tone")

    monkeypatch.setattr(Tone, "plot", plot, raising=False)
    training = {"epochs": 4, "batch_size": 12, "learning_rate": 0.02, "log_every": 5}
    train(make_recipe(text_checkpoint, training=training), manifest, tmp_path / "run", untrained=False)
    return tmp_path / "run" / "model"


def test_recordings_of_patients_are_shown_only_when_asked_for(run, manifest, monkeypatch):
    from modalign import AlignmentModel

    model = AlignmentModel.from_pretrained(run)
    one = evaluate_zero_shot(model, manifest, "tone")
    tone = get_modality("tone")
    assert tone.private  # unless a modality says otherwise
    assert "--examples N" in render("t", [one], examples=gallery(one, tone, "tone"))
    assert not gallery(one, tone, "tone").nearest
    shown = gallery(one, tone, "tone", 2)
    page = render("t", [one], examples=shown)
    check(page)
    assert "recordings of patients" in page
    assert not re.search("|".join(row.id for row in one.rows), page)
    assert "a tone" in base64.b64decode(shown.nearest[0].source.partition(",")[2]).decode()
    words = [example.words for example in shown.nearest]
    again = [example.words for example in gallery(one, tone, "tone", 2).nearest]
    assert words != again  # another salt: two reports cannot be joined by their ids
    monkeypatch.setattr(Tone, "private", False)
    open_ = gallery(one, tone, "tone")
    assert any(row.id in example.words for example in open_.nearest for row in one.rows)


def test_without_matplotlib_a_report_is_made_and_says_so(run, manifest, monkeypatch):
    from modalign import AlignmentModel

    one = evaluate_zero_shot(AlignmentModel.from_pretrained(run), manifest, "tone")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(Tone, "private", False)
    assert "pip install 'modalign[plot]'" in gallery(one, get_modality("tone"), "tone").note
    with pytest.raises(MissingExtraError):
        gallery(one, get_modality("tone"), "tone", 1)


def test_the_command_writes_report_and_card_without_ids_or_paths(
    run, manifest, manifest_file, tmp_path, text_checkpoint
):
    for file in run.rglob("*.json"):  # what is pushed says nothing of this machine
        assert str(text_checkpoint.parent) not in file.read_text()
    out = tmp_path / "out"
    words = ["evaluate", str(run), str(manifest_file), "--modality", "tone", "--out", str(out), "--card"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text()
    check(page)
    assert "modalign evaluate model manifest.csv --modality tone --out out --card" in page
    card = (run / "README.md").read_text()
    for text in (page, card):
        assert "Protocol" in text or "protocol" in text
        assert str(tmp_path) not in text
        assert ".txt" not in text
        for row in manifest.rows:
            assert row.id not in text
            assert not re.search(rf"\b{row.group}\b", text)
    assert "accuracy" in card.partition("---\n\n")[0]


@pytest.mark.parametrize(
    ("option", "said"), [(["--map", "tsne"], "--map 'tsne' is not known"), (["--examples", "-1"], "examples")]
)
def test_bad_options_are_refused_before_anything_is_read(option, said, tmp_path):
    words = ["evaluate", "none", "none.csv", "--modality", "tone", "--out", str(tmp_path), *option]
    result = CliRunner().invoke(app, words)
    assert result.exit_code
    assert said in result.output + str(result.exception)


def test_numbers_have_no_areas_of_classes():
    """Regression has one column, as one label would."""
    one = evaluation()
    numbers = np.arange(60.0)[:, None]
    one = replace(one, metric="R2", labels=["age"], results=[Result("modalign", 0.5, None, numbers)], classes=None)
    assert "Each class" not in "".join(check(render("title", [one])).words)
