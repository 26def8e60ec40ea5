"""X-ray: projections, one channel, DICOM and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities.base import Modality, Signal
from modalign.modalities.descriptions import Descriptions, LabelSets, read_wording
from modalign.modalities.registry import register_modality
from modalign.modalities.xray.augment import AUGMENTATIONS
from modalign.modalities.xray.encoders import ENCODERS
from modalign.modalities.xray.fields import XrayFields
from modalign.modalities.xray.plot import plot_xray
from modalign.modalities.xray.processing import XrayProcessing
from modalign.modalities.xray.reader import read_xray
from modalign.modalities.xray.summary import pixels


@register_modality("xray")
class Xray(Modality):
    """X-ray images.

    A Signal's data is (1, H, W), float32 in [0, 1]: 0 black, 1 white; bone and metal are bright.

    Example:
        >>> Xray().load(np.arange(4096).reshape(64, 64), range="0,4095", view="pa").meta["view"]
        'PA'
    """

    processing = XrayProcessing
    encoders = ENCODERS
    default_encoder = "cnn"
    fields = XrayFields
    augmentations = AUGMENTATIONS
    templates, negations, opposites = read_wording(Path(__file__).with_name("templates.yaml"))
    descriptions = Descriptions(Path(__file__).with_name("descriptions.yaml"))
    label_sets = LabelSets(Path(__file__).with_name("label_sets.yaml"))
    slice_field = ""

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read DICOM, PNG, JPEG, TIFF, .npy, or an array or tensor (H, W), (1, H, W) or (H, W, 3).

        Raises:
            ReadError: anything that is missing, damaged, ambiguous or implausible; names the source and the mend.
        """
        source = Path(source) if isinstance(source, str) else source
        return read_xray(source, XrayFields(**self.parse_fields(fields)))

    def slices(self, signal: Signal) -> Tensor:
        """(1, H, W): the image, as one slice of what its rows are slices of."""
        return signal.data

    def one_slice(self, signal: Signal, number: int) -> Signal:
        """The image."""
        return signal

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any]:
        """The image at 48 x 48: (2304,), float64."""
        return pixels(signal)

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """The image in grey: see `plot.plot_xray`."""
        plot_xray(signal, ax, relevance)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """Nearly square."""
        return 5.0, 5.0
