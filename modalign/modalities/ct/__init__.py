"""CT: volumes in Hounsfield units, as stacks of slices or in 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities.base import Modality, Signal
from modalign.modalities.ct.augment import AUGMENTATIONS
from modalign.modalities.ct.encoders import ENCODERS
from modalign.modalities.ct.fields import CtFields
from modalign.modalities.ct.kept import keep_slices
from modalign.modalities.ct.plot import as_read, plot_ct
from modalign.modalities.ct.processing import CtProcessing
from modalign.modalities.ct.reader import read_ct
from modalign.modalities.ct.summary import features
from modalign.modalities.descriptions import Descriptions, LabelSets, read_wording
from modalign.modalities.registry import register_modality


@register_modality("ct")
class Ct(Modality):
    """Computed tomography.

    A Signal's data is (1, X, Y, Z) in HU; X runs to the patient's right, Y to the front, Z to the head.

    Example:
        >>> volume = np.linspace(-1000, 1000, 4 * 5 * 6).reshape(4, 5, 6)
        >>> Ct().load(volume, unit="HU", axes="SPL", spacing="5, 0.7, 0.7").data.shape
        torch.Size([1, 6, 5, 4])
    """

    processing = CtProcessing
    encoders = ENCODERS
    default_encoder = "cnn3d"
    fields = CtFields
    augmentations = AUGMENTATIONS
    templates, negations, opposites = read_wording(Path(__file__).with_name("templates.yaml"))
    descriptions = Descriptions(Path(__file__).with_name("descriptions.yaml"))
    label_sets = LabelSets(Path(__file__).with_name("label_sets.yaml"))
    slice_field = "slices"

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read a folder of DICOM slices, a DICOM file, NIfTI, NRRD, NPY, or an array or tensor.

        Raises:
            ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.
        """
        source = Path(source) if isinstance(source, str) else source
        return read_ct(source, CtFields(**self.parse_fields(fields)))

    def slices(self, signal: Signal) -> Tensor:
        """(Z, H, W): the axial slices from the lowest, as a reader sees them; what `modalign data reduce` compares."""
        return as_read(signal.data[0])

    def one_slice(self, signal: Signal, number: int) -> Signal:
        """A slice as a volume of one."""
        return keep_slices(signal, [number], "this volume")

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any]:
        """Shares of densities, volume, extents and a coarse picture: see `summary.features`."""
        return features(signal)

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """Axial slices through a window: see `plot.plot_ct`."""
        plot_ct(signal, ax, relevance)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """Room for twelve slices."""
        return 9.0, 7.0
