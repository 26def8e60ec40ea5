"""X-ray keeps the contract of a modality, with every encoder and format; its templates and descriptions are usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalign.modalities import get_modality, list_modalities
from modalign.modalities.testing import Sample, check_modality
from tests.imports import loaded_by
from tests.modalities.xray_files import picture, write_dicom, write_picture

xray = get_modality("xray")
TINY: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"stages": [8, 16], "size": 32},
    "densenet121": {"size": 32, "norm_kind": "group"},
    "resnet18": {"size": 32},
    "resnet50": {"size": 32, "channels": 3},
    "vit": {"hf_config": {"model_type": "vit", "num_channels": 1, **TINY}, "drop_key": 0.2, "schedule": "linear"},
}
CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
KERMANY = ("normal", "bacterial pneumonia", "viral pneumonia")
CHESTXRAY14 = ("Emphysema", "Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening")
MEDNIST = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")


def test_every_encoder_is_tested() -> None:
    assert "xray" in list_modalities()
    assert set(SMALL) == set(xray.encoders)


@pytest.mark.parametrize("name", SMALL)
def test_every_encoder_conforms(name: str, tmp_path: Path) -> None:
    samples = [Sample(write_dicom(tmp_path / f"{size}.dcm", picture(size, 4095), BitsStored=12)) for size in (40, 64)]
    check_modality("xray", samples, tmp_path, {name: SMALL[name]})


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_checkpoints_conform(kind: str, tmp_path: Path) -> None:
    import transformers

    model = {"vit": "ViT", "dinov2": "Dinov2"}[kind]
    config = getattr(transformers, f"{model}Config")(**TINY)
    getattr(transformers, f"{model}Model")(config).save_pretrained(tmp_path / "checkpoint")
    text = '{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.3], "do_normalize": true}'
    (tmp_path / "checkpoint/preprocessor_config.json").write_text(text)
    samples = [Sample(write_picture(tmp_path / f"{size}.png", picture(size))) for size in (40, 64)]
    check_modality("xray", samples, tmp_path, {"vit": {"checkpoint": str(tmp_path / "checkpoint")}})


def test_every_format_conforms(tmp_path: Path) -> None:
    sets: dict[str, list[Sample]] = {
        suffix: [Sample(write_picture(tmp_path / f"{size}.{suffix}", picture(size))) for size in (40, 64)]
        for suffix in ("png", "jpeg", "tiff")
    }
    for size in (40, 64):
        np.save(tmp_path / f"{size}.npy", picture(size, 4095))
    sets["npy"] = [Sample(tmp_path / f"{size}.npy", {"range": "0,4095"}) for size in (40, 64)]
    sets["array"] = [Sample(picture(size, 1000), {"range": "0,1000"}) for size in (40, 64)]
    for name, samples in sets.items():
        (tmp_path / name).mkdir()
        check_modality("xray", samples, tmp_path / name, {"cnn": SMALL["cnn"]}, {"clahe": True})


def test_real_files_conform(real_data: Path, tmp_path: Path) -> None:
    samples = [Sample(p) for p in sorted((real_data / "cxr_hannover24/png").glob("*.png"))[:2]]
    samples += [Sample(real_data / f"ct_dicom/dicom_misc/{name}.dcm") for name in ("RG1_J2KI", "RG3_J2KR")]
    check_modality("xray", samples, tmp_path, {"cnn": {}})


def test_templates_and_descriptions() -> None:
    assert len(set(xray.templates)) == len(xray.templates) >= 5
    assert all(template.format(label="edema").count("edema") == 1 for template in xray.templates)
    for label in (*CHEXPERT, *CHESTXRAY14, *KERMANY, *MEDNIST):
        assert len(xray.descriptions[label]) >= 4, label
    assert xray.descriptions["pleural_effusion"] == xray.descriptions["Pleural Effusion"]
    assert len(xray.descriptions) == len({*CHEXPERT, *CHESTXRAY14, *KERMANY, *MEDNIST})
    everything = [sentence for label in xray.descriptions for sentence in xray.descriptions[label]]
    assert all(isinstance(sentence, str) for sentence in everything)
    assert len(everything) == len(set(everything)), "equal texts would be positives of two labels"
    with pytest.raises(KeyError):
        xray.descriptions["no such finding"]


def test_importing_xray_imports_nothing_heavy() -> None:
    loaded = loaded_by("import modalign.modalities.xray")
    assert "modalign.modalities.xray" in loaded
    assert not {"monai", "transformers", "pydicom", "PIL", "scipy", "peft"} & loaded
