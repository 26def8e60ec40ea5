"""`check_modality`: the conformance suite that any modality, built in or a plugin, can run.

It needs sample sources, and asserts what the rest of the package relies on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modalign.errors import ReadError
from modalign.modalities.base import Encoder, EncoderOutput, Modality, Processing, Signal
from modalign.modalities.registry import get_modality

BREAKABLE = {"laterality", "rate", "rhythm", "amplitude", "order", "gravity", "location", "timing", "spectrum"}


@dataclass(frozen=True)
class Sample:
    """A source that the modality can read, with what a manifest would say of it."""

    source: Any
    fields: Mapping[str, Any] = field(default_factory=dict)


def check_modality(
    name: str,
    samples: Sequence[Sample],
    tmp_path: Path,
    encoders: Mapping[str, Mapping[str, Any]] | None = None,
    processing: Mapping[str, Any] | None = None,
) -> None:
    """Assert that a registered modality keeps the contract.

    Args:
        name: the registered name.
        samples: at least two sources, of different lengths where the modality has lengths. The first one's kind (a
            file, or a folder of files) is what damaged sources are made like.
        tmp_path: an empty folder.
        encoders: encoder name -> options to test it with; None tests every registered one with its defaults.
        processing: parameters for the processing.

    Example:
        >>> check_modality("eeg", [Sample("a.csv"), Sample("b.csv")], tmp_path)    # doctest: +SKIP
    """
    modality = get_modality(name)
    assert len(samples) >= 2, "give at least two samples"
    signals = [modality.load(s.source, **s.fields) for s in samples]
    for signal in signals:
        _check_signal(signal)
    _check_reading_errors(modality, samples[0], tmp_path)
    _check_augmentations(modality, signals[0])
    for encoder_name, options in (encoders or {e: {} for e in modality.encoders}).items():
        torch.manual_seed(0)
        encoder = modality.build_encoder(encoder_name, **options).eval()
        parameters = {**encoder.processing_defaults(), **(processing or {})}
        process = modality.build_processing(**parameters).fit(signals)
        items = [process(signal) for signal in signals]
        _check_processing(process, signals, items, tmp_path / f"assets-{encoder_name}")
        _check_encoder(modality, encoder_name, encoder, process, items)
        _check_way_back(modality, process, signals[0])


def _check_signal(signal: Signal) -> None:
    assert signal.data.dtype == torch.float32, f"Signal.data is float32, not {signal.data.dtype}"
    assert signal.rate is None or signal.rate > 0
    if signal.channels:
        assert signal.data.shape[0] == len(signal.channels), "one channel name for each row of data"


def _check_reading_errors(modality: Modality, sample: Sample, tmp_path: Path) -> None:
    if not modality.is_path:
        with pytest.raises(ReadError):
            modality.load("", **sample.fields)
        return
    if not isinstance(sample.source, (str, Path)):
        return
    suffix = "" if Path(sample.source).is_dir() else "".join(Path(sample.source).suffixes)
    for path in _bad_sources(Path(sample.source), suffix, tmp_path):
        with pytest.raises(ReadError) as caught:
            modality.load(path, **sample.fields)
        assert path.name in str(caught.value), f"the error names the file: {caught.value}"
    with pytest.raises(ReadError, match="no such file"):
        modality.load(tmp_path / f"absent{suffix}", **sample.fields)
    good = modality.read(Path(sample.source), **modality.parse_fields(sample.fields))
    spoilt = good.data.clone()
    spoilt.view(-1)[0] = float("nan")

    class Spoilt(type(modality)):  # type: ignore[misc]
        def read(self, source: Any, **fields: Any) -> Signal:
            return Signal(spoilt, good.rate, good.channels, good.meta)

    with pytest.raises(ReadError, match="NaN"):
        Spoilt().load(sample.source, **sample.fields)
    with pytest.raises(ReadError, match="not a field"):
        modality.load(sample.source, **{**sample.fields, "no_such_field": 1})


def _bad_sources(good: Path, suffix: str, tmp_path: Path) -> list[Path]:
    """Sources of the same kind that hold nothing, or nothing that can be read: files, or folders of such a file."""
    contents = {"empty": b"", "garbage": b"\x00\xff\x13not a recording\n" * 7}
    paths = [tmp_path / f"{kind}{suffix}" for kind in contents]
    if not good.is_dir():
        for path, content in zip(paths, contents.values()):
            path.write_bytes(content)
        return paths
    name = min(p.name for p in good.iterdir() if p.is_file())
    for path, content in zip(paths, contents.values()):
        path.mkdir()
        (path / name).write_bytes(content)
    hollow = tmp_path / "hollow"
    hollow.mkdir()
    return [*paths, hollow]


def _check_augmentations(modality: Modality, signal: Signal) -> None:
    for name, cls in modality.augmentations.items():
        assert isinstance(cls.breaks, frozenset), f"{name} declares what it breaks"
        assert cls.breaks <= BREAKABLE, f"{name} breaks {cls.breaks - BREAKABLE}, which is no known word"
        if any(field.is_required() for field in cls.model_fields.values()):
            continue  # needs what only its user has (a folder of backgrounds); its own test gives that
        augmentation = cls()
        before = signal.data.clone()
        results = [augmentation.apply(signal, torch.Generator().manual_seed(seed)) for seed in (7, 7)]
        assert torch.equal(signal.data, before), f"{name} changes its input in place"
        assert torch.equal(results[0].data.nan_to_num(), results[1].data.nan_to_num()), f"{name} is not deterministic"
        assert results[0].channels == signal.channels


def _check_processing(process: Processing, signals: list[Signal], items: list[dict[str, Tensor]], folder: Path) -> None:
    again = [process(signal) for signal in signals]
    _assert_same(items, again, "processing is not deterministic")
    process.save_assets(folder)
    loaded = type(process)(**process.parameters()).load_assets(folder)
    _assert_same(items, [loaded(signal) for signal in signals], "processing changes when saved and loaded")


def _assert_same(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]], message: str) -> None:
    for x, y in zip(a, b):
        assert x.keys() == y.keys(), message
        for key in x:
            assert torch.equal(x[key], y[key]), f"{message}: {key}"


def _check_encoder(
    modality: Modality, name: str, encoder: Encoder, process: Processing, items: list[dict[str, Tensor]]
) -> None:
    alone = [encoder(**process.collate([item])) for item in items]
    for output in alone:
        _check_output(encoder, output, 1)
    assert torch.equal(alone[0].pooled, encoder(**process.collate([items[0]])).pooled), f"{name} is random in eval mode"
    if encoder.padding == "exact":
        together = encoder(**process.collate(items))
        _check_output(encoder, together, len(items))
        for i, output in enumerate(alone):
            difference = (together.pooled[i] - output.pooled[0]).abs().max() / output.pooled.abs().max().clamp_min(1e-6)
            assert difference < 1e-4, f"{name} says exact padding, but padding moved item {i} by {difference:.1e}"
    twin = modality.build_encoder(name, **encoder.options()).eval()
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(**process.collate([items[0]])).pooled, alone[0].pooled), (
        f"{name} changes when saved and loaded"
    )
    if not encoder.trains:
        assert not list(encoder.parameters()), f"{name} says that training changes nothing, but has weights"
        return
    encoder.zero_grad()
    encoder(**process.collate([items[0]])).pooled.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters()), (
        f"{name} passes no gradient"
    )
    targets = encoder.lora_targets()
    modules = [module for module, _ in encoder.named_modules()]
    for target in targets:
        assert any(m == target or m.endswith(f".{target}") for m in modules), (
            f"{name} has no module {target!r} for LoRA"
        )
    assert targets, f"{name} names no LoRA targets"


def _check_way_back(modality: Modality, process: Processing, signal: Signal) -> None:
    """Relevance of the model's inputs comes back to the signal, and `plot` draws it."""
    batches = [process.collate([process(window)]) for window in process.segments(signal)]
    mains = [next(value for value in batch.values() if value.dtype != torch.bool)[0] for batch in batches]
    back = process.restore([torch.ones(main.shape) for main in mains], signal)
    assert torch.isfinite(back).all(), "restore gives values that are not finite"
    assert bool(back.any()), "restore loses all relevance"
    if find_spec("matplotlib") is not None:
        from matplotlib.figure import Figure

        modality.plot(signal, Figure(figsize=modality.plot_inches(signal)).subplots(), back)


def _check_output(encoder: Encoder, output: EncoderOutput, batch: int) -> None:
    assert output.pooled.shape == (batch, encoder.width)
    assert output.tokens.shape[0] == batch
    assert output.tokens.shape[2] == encoder.width
    assert output.mask.shape == output.tokens.shape[:2]
    assert output.mask.dtype == torch.bool
    assert torch.isfinite(output.pooled).all()
