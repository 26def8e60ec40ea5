"""The model card: `README.md` with the Hub's header, what the model was trained on, its limits, and its figures.

The figures live in the header's `model-index`, and the table in the text is written from it, so that the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modalign.align.config import ModelConfig
from modalign.align.privacy import without_paths

HERE = "."
"""How the example on a card names the model until it has a name on the Hub."""
BEGIN, END = "<!-- figures: written by modalign evaluate -->", "<!-- end of figures -->"
NONE = "None yet: `modalign evaluate MODEL MANIFEST --modality NAME --out FOLDER --card` writes them here."
UNLICENSED = " No licence of the weights is stated: it is for their owner to choose, by what the training data allow."
MOST_LABELS = 60


def model_card(
    config: ModelConfig,
    record: Mapping[str, Any] | None,
    recordings: Sequence[str],
    results: Sequence[EvalResult] = (),
    *,
    repo_id: str = HERE,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> ModelCard:
    """The card of a model.

    Args:
        config: the model's.
        record: what `training.json` says, or None.
        recordings: the towers that take recordings, not text.
        results: figures, from `modalign evaluate`.
        repo_id: the model's name on the Hub, for the example.
        license: of the weights, by the Hub's id; it is their owner's to choose, and none is claimed otherwise.
        datasets: Hub ids of the training data, where they are public.
    """
    record = record or {}
    name = str((record.get("recipe") or {}).get("name") or "modalign model")
    kinds = sorted({tower.modality or tower_name for tower_name, tower in config.towers.items()})
    data = ModelCardData(
        library_name="modalign",
        license=license or "other",
        license_name=None if license else "not-stated",
        pipeline_tag="feature-extraction",
        tags=["modalign", "contrastive", "multimodal", *kinds],
        datasets=list(datasets) or None,
        model_name=name if results else None,
        eval_results=list(results) or None,
    )
    parts = [
        f"# {_line(name)}",
        f"A modalign model: {_listed(kinds)} in one embedding space of {config.dim} dimensions.",
        "## Intended use and limits",
        _limits(license),
        "## Training data",
        _training(record),
        "## Training",
        _towers(config, record),
        f"## Figures\n\n{BEGIN}\n{figures_table(results)}\n{END}",
        "## How to load it",
        _example(config, record, recordings, repo_id),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(part.strip() for part in parts) + "\n")


def kept_card(text: str, *, repo_id: str = HERE, license: str | None = None, datasets: Sequence[str] = ()) -> ModelCard:
    """A card as it was read, with another name in its example, and the licence and data that are now stated."""
    card = ModelCard(text.replace(f"from_pretrained({HERE!r})", f"from_pretrained({repo_id!r})"))
    data: Any = card.data
    if license:
        data.license, data.license_name = license, None
        card.text = card.text.replace(UNLICENSED, "")
    if datasets:
        data.datasets = list(datasets)
    return ModelCard(str(card))


def add_result(card: ModelCard, result: EvalResult) -> ModelCard:
    """Put a figure on a card, in place of an older one of the same metric, data, split and protocol.

    What else a person wrote on the card stays as it is.
    """
    data: Any = card.data
    results = [r for r in data.get("eval_results") or [] if not _same(r, result)] + [result]
    heading = re.search(r"^# (.+)$", card.text, re.MULTILINE)
    data.eval_results = results
    data.model_name = data.get("model_name") or (heading.group(1).replace("\\", "") if heading else "model")
    table = f"{BEGIN}\n{figures_table(results)}\n{END}"
    text, found = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: table, card.text, flags=re.DOTALL)
    card.text = text if found else f"{card.text.rstrip()}\n\n## Figures\n\n{table}\n"
    return ModelCard(str(card))


def figures_table(results: Sequence[EvalResult]) -> str:
    """The figures as a table, each beside its interval, chance and the baselines."""
    if not results:
        return NONE
    lines = [
        "| data | split | protocol | metric | value | 95 % interval | beside | rows |",
        "|---|---|---|---|---:|---|---|---:|",
    ]
    for r in results:
        args = r.metric_args or {}
        low, high = args.get("interval") or (None, None)
        beside = ", ".join(f"{name} {value:.3f}" for name, value in (args.get("beside") or {}).items())
        cells = [
            r.dataset_name,
            r.dataset_split or "",
            args.get("protocol", ""),
            r.metric_name or r.metric_type,
            f"{r.metric_value:.3f}",
            f"{low:.3f} – {high:.3f}" if low is not None else "",
            beside,
            f"{args['rows']:,}" if "rows" in args else "",
        ]
        lines.append(f"| {' | '.join(_line(cell) for cell in cells)} |")
    if any(r.dataset_split in ("val", "train") for r in results):
        lines.append(
            "\nTraining saw the split `train` and chose its checkpoint on `val`: figures on them are optimistic."
        )
    return "\n".join(lines)


def _same(a: EvalResult, b: EvalResult) -> bool:
    protocols = [(r.metric_args or {}).get("protocol") for r in (a, b)]
    keys = [(r.task_type, r.dataset_type, r.dataset_config, r.dataset_split, r.metric_type) for r in (a, b)]
    return keys[0] == keys[1] and protocols[0] == protocols[1]


def _limits(license: str | None) -> str:
    return (
        "To classify, search and compare recordings like those it was trained on, by text. It is a research tool, no "
        "medical device: it is not for diagnosis, nor for any decision about a person.\n\n"
        "- Recordings of other devices, places or people than training's may be misread without any sign of it.\n"
        "- Its probabilities are a softmax of cosines and not calibrated, unless a figure below says so.\n"
        "- Without a threshold for rejection it names one of the labels it is given even where none fits.\n"
        "- Words that training had no captions like may mean nothing to it.\n\n"
        f"The code that it runs with (modalign) is under Apache-2.0.{'' if license else UNLICENSED}"
    )


def _training(record: Mapping[str, Any]) -> str:
    if not record:
        return "Not recorded."
    labels = [str(label) for label in record.get("labels", [])]
    counts = record.get("label_counts") or {}
    groups = int(record.get("groups") or 0)
    said = [f"{int(record.get('rows', 0)):,} rows of {f'{groups:,} groups (people)' if groups else 'unknown people'}."]
    if record.get("synthetic"):
        said.append("SYNTHETIC recordings: they were simulated, and are of nobody.")
    if record.get("official_split"):
        said.append("The data set's official split: groups may cross it, so tests on it are not subject-independent.")
    elif groups:
        said.append("No group of the training rows is in the validation or test split.")
    if labels:
        words = [
            f"{_line(label)}{f' ({counts[label]:,})' if label in counts else ''}" for label in labels[:MOST_LABELS]
        ]
        more = f", and {len(labels) - MOST_LABELS:,} more" if len(labels) > MOST_LABELS else ""
        said.append(f"{len(labels):,} labels{' (rows)' if counts else ''}: {', '.join(words)}{more}.")
    said.append("A row without a caption of its own was trained with sentences made from its labels.")
    return " ".join(said)


def _towers(config: ModelConfig, record: Mapping[str, Any]) -> str:
    lines = ["| tower | modality | encoder | trained |", "|---|---|---|---|"]
    for name, tower in config.towers.items():
        cells = [name, tower.modality or name, tower.encoder or "the default", tower.tune]
        lines.append(f"| {' | '.join(map(_line, cells))} |")
    recipe = record.get("recipe")
    if recipe:
        text = yaml.safe_dump(without_paths(recipe), sort_keys=False, allow_unicode=True).strip()
        lines.append(f"\n<details><summary>The recipe</summary>\n\n{_block('yaml', text)}\n\n</details>")
    return "\n".join(lines)


def _example(config: ModelConfig, record: Mapping[str, Any], recordings: Sequence[str], repo_id: str) -> str:
    text, labels = record.get("text", "text"), [str(label) for label in record.get("labels", [])][:5]
    tower = next(iter(recordings), None)
    lines = [
        "from modalign import AlignmentModel, ZeroShotClassifier",
        "",
        f"model = AlignmentModel.from_pretrained({repo_id!r})  # this folder, or a name on the Hub",
    ]
    if tower is not None and text in config.towers and len(labels) > 1:
        lines += [
            f"classifier = ZeroShotClassifier(model, {tower!r}, {labels!r}, text={text!r})",
            "print(classifier.class_embeddings.shape)",
            f"# labels of files: classifier.predict([file])   embeddings: model.embed({tower!r}, [file])",
        ]
    else:
        lines[0] = "from modalign import AlignmentModel"
        lines += ["print(list(model.towers))", "# embeddings of files: model.embed(tower, [file])"]
    return f"`pip install 'modalign[all]'`, then:\n\n{_block('python', chr(10).join(lines))}"


def _block(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _line(text: object) -> str:
    """A user's words inside a line or a table's cell: no markup, no break."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
