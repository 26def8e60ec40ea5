"""Motion: accelerometers and gyroscopes, of one device or several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modalign.errors import ReadError
from modalign.modalities.base import Composition, Modality, Signal
from modalign.modalities.descriptions import Descriptions, LabelSets, read_wording
from modalign.modalities.motion.augment import (
    ChannelMask,
    FullRotation,
    Jitter,
    KeepLocations,
    LocationMask,
    Scaling,
    SmallRotation,
    TimeShift,
    YawRotation,
)
from modalign.modalities.motion.encoders import ENCODERS
from modalign.modalities.motion.fields import MotionFields
from modalign.modalities.motion.plot import panel_inches, plot_motion
from modalign.modalities.motion.processing import MotionProcessing
from modalign.modalities.motion.reader import read_motion
from modalign.modalities.registry import register_modality


@register_modality("motion")
class Motion(Modality):
    """Motion time series.

    A Signal's data is (C, T): specific force in m/s2 (`acc_x`, `acc_y`, `acc_z`: what an accelerometer feels; a device
    at rest reads 9.81 upwards) and rotation in rad/s (`gyro_x`, `gyro_y`, `gyro_z`), with a location before the name
    where there are several devices (`wrist/acc_x`).

    Example:
        >>> array = np.tile([0.0, 0.0, 1.0], (100, 1))
        >>> Motion().load(array, columns="acc_x,acc_y,acc_z", unit="g", rate=50).channels
        ('acc_x', 'acc_y', 'acc_z')
    """

    processing = MotionProcessing
    encoders = ENCODERS
    default_encoder = "inception"
    fields = MotionFields
    augmentations = {  # noqa: RUF012 - declared a ClassVar by the base
        "yaw_rotation": YawRotation,
        "full_rotation": FullRotation,
        "small_rotation": SmallRotation,
        "scaling": Scaling,
        "jitter": Jitter,
        "time_shift": TimeShift,
        "channel_mask": ChannelMask,
        "location_mask": LocationMask,
        "keep_locations": KeepLocations,
    }
    private = False
    compositions = ("sequence",)
    templates, negations, opposites = read_wording(Path(__file__).with_name("templates.yaml"))
    descriptions = Descriptions(Path(__file__).with_name("descriptions.yaml"))
    label_sets = LabelSets(Path(__file__).with_name("label_sets.yaml"))

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read a path (.csv, .csv.gz, .tsv, .parquet, .npy), an array or tensor (T, C), or a DataFrame.

        Raises:
            ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.
        """
        source = Path(source) if isinstance(source, str) else source
        return read_motion(source, MotionFields(**self.parse_fields(fields)))

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any]:
        """Mean, standard deviation, minimum, maximum and mean square of each channel: (5 C,), float64.

        A masked channel (NaN) gives zeros.
        """
        data = signal.data.double().numpy()
        parts = [data.mean(1), data.std(1), data.min(1), data.max(1), (data**2).mean(1)]
        return np.asarray(np.nan_to_num(np.concatenate(parts)))

    def compose(self, first: Signal, second: Signal, how: Composition, ratio: float = 0.5) -> Signal:
        """One recording after the other, as where windows of two activities meet.

        Raises:
            ReadError: they have other channels or rates.
        """
        if (first.channels, first.rate) != (second.channels, second.rate):
            raise ReadError(
                f"motion of {', '.join(first.channels)} at {first.rate:g} Hz does not go on with "
                f"{', '.join(second.channels)} at {second.rate:g} Hz; compose recordings of one device"
            )
        return replace(first, data=torch.cat([first.data, second.data], -1))

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """Accelerometers in m/s2 and g, gyroscopes in rad/s, over seconds: see `plot.plot_motion`."""
        plot_motion(signal, ax, relevance)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """Taller the more sensors there are."""
        return panel_inches(signal)
