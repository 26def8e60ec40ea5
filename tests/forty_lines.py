"""A modality in 40 lines: step counts a minute, a text file of numbers each."""

import numpy as np
import torch
from torch import nn

from modalign import Encoder, EncoderOutput, Modality, Processing, ReadError, Signal, register_modality


class StepsProcessing(Processing):
    most: float = 200.0

    def __call__(self, signal):
        return {"values": signal.data / self.most}


class StepsEncoder(Encoder):
    def __init__(self, width=16):
        super().__init__()
        self.width, self.layer = width, nn.Linear(1, width)

    def options(self):
        return {"width": self.width}

    def forward(self, values, mask):
        tokens = self.layer(values.transpose(1, 2)).relu() * mask.unsqueeze(-1)
        return EncoderOutput(tokens, mask, tokens.sum(1) / mask.sum(1, keepdim=True))


@register_modality("steps")
class Steps(Modality):
    """Steps a minute."""

    processing, encoders, templates = StepsProcessing, {"linear": StepsEncoder}, ("a day of {label}",)

    def read(self, source):
        try:
            return Signal(torch.tensor(np.loadtxt(source, dtype=np.float32, ndmin=1)).unsqueeze(0), 1 / 60)
        except ValueError as error:
            raise ReadError(f"{source}: not numbers, one a line ({error})") from None
