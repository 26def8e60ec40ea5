"""ECG: 1 to 12 leads and more, 10 s recordings and longer ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities.base import Modality, Signal
from modalign.modalities.descriptions import Descriptions, LabelSets, read_wording
from modalign.modalities.ecg.augment import AUGMENTATIONS
from modalign.modalities.ecg.encoders import ENCODERS
from modalign.modalities.ecg.fields import EcgFields
from modalign.modalities.ecg.plot import paper_inches, plot_ecg
from modalign.modalities.ecg.processing import EcgProcessing
from modalign.modalities.ecg.reader import read_ecg
from modalign.modalities.ecg.summary import features
from modalign.modalities.registry import register_modality


@register_modality("ecg")
class Ecg(Modality):
    """Electrocardiograms.

    A Signal's data is (C, T) in mV; channels are leads, I, II, III, aVR, aVL, aVF, V1-V6 as far as they are there,
    then others (MLII, V7, X ...).

    Example:
        >>> Ecg().load(np.zeros((5000, 2)), leads="v5, ii", rate=500, unit="mV").channels
        ('II', 'V5')
    """

    processing = EcgProcessing
    encoders = ENCODERS
    default_encoder = "cnn"
    fields = EcgFields
    augmentations = AUGMENTATIONS
    templates, negations, opposites = read_wording(Path(__file__).with_name("templates.yaml"))
    descriptions = Descriptions(Path(__file__).with_name("descriptions.yaml"))
    label_sets = LabelSets(Path(__file__).with_name("label_sets.yaml"))

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read WFDB (.hea, .dat, .mat), DICOM, .csv, .tsv, .parquet, .npy, an array or tensor, or a DataFrame.

        Raises:
            ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.
        """
        source = Path(source) if isinstance(source, str) else source
        return read_ecg(source, EcgFields(**self.parse_fields(fields)))

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any]:
        """Heart rate, its variation, and each lead's statistics and mean beat: see `summary.features`."""
        return features(signal)

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """Leads on ECG paper, 25 mm/s and 10 mm/mV: see `plot.plot_ecg`."""
        plot_ecg(signal, ax, relevance)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """The size at which a millimetre of the paper is one."""
        return paper_inches(signal)
