"""The embeddings of several modalities of a manifest's rows, each item encoded once; NaN where a row lacks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalign.align.cache import FeatureTable
from modalign.align.data import AlignmentDataset
from modalign.align.embed import Advance, embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel

Array = NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """The rows of a manifest, encoded.

    Attributes:
        aligned: modality -> (N, dim) unit rows; zeros where a row lacks it.
        pooled: modality -> (N, width) the encoder's features, likewise.
        present: (N, M) bool, in the order of the modalities.
    """

    aligned: dict[str, Tensor]
    pooled: dict[str, Tensor]
    present: Tensor


def encode_modalities(
    model: AlignmentModel,
    dataset: AlignmentDataset,
    modalities: Sequence[str],
    tables: Mapping[str, FeatureTable] | None = None,
    advance: Advance | None = None,
) -> Encoded:
    """Encode every row in each modality.

    A text that the row does not hold itself, but that was made of its labels, is no input: it would give them away.

    Args:
        model: whose towers encode.
        dataset: the rows, built with `train=False`.
        modalities: the towers.
        tables: features of frozen towers, where the caller has them.
        advance: called with the number of rows done, for a progress bar; each modality's count.
    """
    n = len(dataset)
    aligned, pooled, present = {}, {}, torch.zeros(n, len(modalities), dtype=torch.bool)
    for m, name in enumerate(modalities):
        found = embed_split(model, dataset, name, table=(tables or {}).get(name), advance=advance)
        own = torch.tensor([name in dataset.manifest.rows[i].sources for i in found.rows], dtype=torch.bool)
        kept = torch.tensor(found.rows, dtype=torch.long)[own]
        aligned[name], pooled[name] = torch.zeros(n, model.dim), torch.zeros(n, model.tower(name).width)
        aligned[name][kept], pooled[name][kept] = found.embeddings[own], found.pooled[own]
        present[kept, m] = True
    return Encoded(aligned, pooled, present)


def fusion_inputs(
    model: AlignmentModel, manifest: Manifest, modalities: Sequence[str], advance: Advance | None = None
) -> dict[str, Array]:
    """What `FusionClassifier` takes: modality -> embeddings (N, dim), NaN where a row lacks it.

    Example:
        >>> X = fusion_inputs(model, manifest, ["ecg", "xray"])     # doctest: +SKIP
        >>> X["ecg"].shape                                          # doctest: +SKIP
        (353, 256)
    """
    towers = {name: model.tower(name) for name in modalities}
    found = encode_modalities(model, AlignmentDataset(manifest, towers), modalities, advance=advance)
    return {
        name: np.where(found.present[:, m : m + 1].numpy(), found.aligned[name].numpy(), np.nan)
        for m, name in enumerate(modalities)
    }
