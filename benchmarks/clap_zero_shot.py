"""Zero-shot classification of clips, beside transformers' `zero-shot-audio-classification` pipeline.

    python -m benchmarks.clap_zero_shot [--data FOLDER] [--clips 40] [--runs 5] [--threads 2] [--json]

The weights are a ClapModel with random values, smaller than LAION's (no hub is asked); its towers and projections are
put into an AlignmentModel. The clips are ESC-10's, 5 s at 48 kHz, decoded before the clock starts; ten labels.

JSON keys: `ratio` (median seconds of theirs / of ours, alternating runs), `max_score_difference` (of probabilities),
`theirs_seconds`, `ours_seconds`, `clips`, `clips_per_second` (ours).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from benchmarks.measuring import alternate, arguments_of, show
from modalign import AlignmentModel, ZeroShotClassifier, get_modality
from modalign.modalities.base import Signal

RATE, PROMPT = 48_000, "This is a sound of {label}."
TEXT = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
DIM = 128


def save_checkpoint(folder: Path, words: set[str], width: int = 48) -> Any:
    """A random ClapModel of this first width, with its tokenizer, and its text tower as a RoBERTa."""
    import transformers as t
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)
    text = {**TEXT, "vocab_size": len(vocabulary), "max_position_embeddings": 40, "type_vocab_size": 1}
    heads = [width // 24, width // 12, width // 6, width // 3] if width >= 24 else [1, 2, 4, 8]
    audio = {"patch_embeds_hidden_size": width, "hidden_size": 8 * width, "num_attention_heads": heads}
    audio |= {"depths": [2, 2, 2, 2]}
    config = t.ClapConfig(text_config=text, audio_config=audio, projection_dim=DIM)
    model = t.ClapModel(config).eval()
    extractor = t.ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    roberta = t.RobertaModel(t.RobertaConfig(**text, pad_token_id=1)).eval()
    roberta.load_state_dict(model.text_model.state_dict(), strict=False)
    for part, place in ((model, folder), (roberta, folder / "text")):
        part.save_pretrained(place)
        fast.save_pretrained(place)
    extractor.save_pretrained(folder)
    return model


def aligned(folder: Path, clap: Any) -> AlignmentModel:
    """The same towers and projections as an AlignmentModel."""
    projection = {"kind": "mlp", "hidden": DIM}
    towers = {
        "text": {"options": {"checkpoint": str(folder / "text"), "pooling": "pooler"}, "projection": projection},
        "audio": {"encoder": "clap", "options": {"checkpoint": str(folder)}, "projection": projection},
    }
    model = AlignmentModel({"towers": towers, "dim": DIM, "temperature": {"init": 1 / clap.logit_scale_a.exp().item()}})
    for name, theirs in (("text", clap.text_projection), ("audio", clap.audio_projection)):
        first, _, second = model.tower(name).projection.layers
        first.load_state_dict(theirs.linear1.state_dict())
        second.load_state_dict(theirs.linear2.state_dict())
    return model.eval()


def esc10(data: Path, most: int) -> list[tuple[Path, str]]:
    """Clips of all classes in turn, and their labels."""
    folders = sorted(path for path in (data / "audio_esc10").iterdir() if path.is_dir())
    files = [file for turn in zip(*(sorted(folder.glob("*.ogg")) for folder in folders)) for file in turn][:most]
    return [(file, file.parent.name.split("-", 1)[1].strip("_- ").replace("_", " ").lower()) for file in files]


def clips_of(data: Path, most: int) -> tuple[list[np.ndarray], list[str]]:
    """Decoded clips at 48 kHz, and the labels of the set."""
    from modalign.modalities.resampling import resample

    rows = esc10(data, most)
    signals = [get_modality("audio").load(file) for file, _ in rows]
    waves = [resample(s.data.mean(0, keepdim=True), float(s.rate or RATE), RATE)[0].numpy() for s in signals]
    return waves, list(dict.fromkeys(label for _, label in rows))


def measure(data: Path, count: int, runs: int) -> dict[str, Any]:
    """Alternating runs, and the largest difference of a score."""
    from transformers import pipeline

    waves, labels = clips_of(data, count)
    words = {word.strip(".").lower() for label in labels for word in PROMPT.replace("{label}", label).split()} | {"."}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clap = save_checkpoint(folder, words)
        theirs = pipeline("zero-shot-audio-classification", model=str(folder))
        return compare(theirs, aligned(folder, clap), waves, labels, runs)


def compare(
    theirs: Any, model: AlignmentModel, waves: list[np.ndarray], labels: list[str], runs: int
) -> dict[str, Any]:
    """Both on the same clips."""
    signals = [Signal(torch.from_numpy(wave.copy()).unsqueeze(0), float(RATE), ("mono",)) for wave in waves]

    def run_theirs() -> np.ndarray:
        found = theirs(waves, candidate_labels=labels, hypothesis_template=PROMPT.replace("{label}", "{}"))
        each = [{one["label"]: one["score"] for one in clip} for clip in found]
        return np.array([[clip[label] for label in labels] for clip in each])

    def run_ours() -> np.ndarray:
        classifier = ZeroShotClassifier(model, "audio", labels, templates=[PROMPT])
        return np.asarray(classifier.predict_proba(signals))

    seconds = alternate({"theirs": run_theirs, "ours": run_ours}, runs)
    return {
        "ratio": seconds["theirs"] / seconds["ours"],
        "max_score_difference": float(np.abs(run_theirs() - run_ours()).max()),
        "theirs_seconds": seconds["theirs"],
        "ours_seconds": seconds["ours"],
        "clips": len(waves),
        "clips_per_second": len(waves) / seconds["ours"],
    }


def main() -> None:
    """Measure, and print."""
    arguments = arguments_of(__doc__, data=True, clips=40, runs=5, threads=2).parse_args()
    torch.set_num_threads(arguments.threads)
    show(measure(arguments.data, arguments.clips, arguments.runs), arguments.json)


if __name__ == "__main__":
    main()
