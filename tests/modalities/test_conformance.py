"""Every modality keeps the contract, and the suite notices one that does not."""

import pytest
import torch

from modalign.modalities import testing
from modalign.modalities.base import EncoderOutput
from modalign.modalities.testing import Sample, check_modality
from tests import tone


def test_text(text_checkpoint, tmp_path):
    samples = [Sample("a person walks"), Sample("the high tone is a loud note of one person")]
    for pooling in ("mean", "cls", "eos", "pooler"):
        options = {"checkpoint": str(text_checkpoint), "pooling": pooling}
        check_modality("text", samples, tmp_path / pooling, {"transformers": options})


def test_a_modality_added_by_one_file(tmp_path):
    path = tone.write_manifest(tmp_path)
    samples = [Sample(path.parent / "low-0.txt"), Sample(path.parent / "high-3.txt", {"rate": "50"})]
    check_modality("tone", samples, tmp_path)


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        (
            "forward",
            lambda self, values, mask: _pooled(self, values, values[:, 0].mean(1, keepdim=True)),
            "exact padding",
        ),
        ("forward", lambda self, values, mask: _pooled(self, values, torch.rand(len(values), 1)), "random"),
        ("forward", lambda self, values, mask: _pooled(self, values, torch.ones(len(values), 1)), "no gradient|grad"),
        ("lora_targets", lambda self: ["absent"], "no module"),
        ("options", lambda self: {"width": 12, "dropout": 0.5} | {"width": 5}, "size mismatch|changes"),
    ],
)
def test_the_suite_notices(method, wrong, message, tmp_path, monkeypatch):
    path = tone.write_manifest(tmp_path)
    monkeypatch.setattr(tone.ToneEncoder, method, wrong)
    samples = [Sample(path.parent / "low-0.txt"), Sample(path.parent / "high-3.txt")]
    with pytest.raises((AssertionError, RuntimeError), match=message):
        check_modality("tone", samples, tmp_path)


def _pooled(encoder, values, pooled):
    tokens = values[:, :1].transpose(1, 2).expand(-1, -1, encoder.width)
    return EncoderOutput(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), pooled.expand(-1, encoder.width))


def test_the_suite_notices_an_augmentation_that_changes_its_input(tmp_path, monkeypatch):
    path = tone.write_manifest(tmp_path)

    def in_place(self, signal, generator):
        signal.data.mul_(2)
        return signal

    monkeypatch.setattr(tone.Gain, "apply", in_place)
    with pytest.raises(AssertionError, match="in place"):
        check_modality("tone", [Sample(path.parent / "low-0.txt"), Sample(path.parent / "high-3.txt")], tmp_path)


def test_modules_are_listed_without_being_imported():
    assert testing.get_modality("tone").name == "tone"
