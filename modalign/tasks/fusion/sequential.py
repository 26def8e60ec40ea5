"""MultiModN's sequential fusion: a state that each modality changes in turn, decoded after each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modalign.tasks.fusion.head import FusionHead
from modalign.tasks.fusion.options import FusionOptions, HeadOutput


class SequentialFusion(FusionHead):
    """MultiModN (Swamy et al. 2023; epfl-iglobalhealth/MultiModN @9920619): s_0 learnt, s_m = enc_m(s_{m-1}, x_m).

    A missing modality leaves a row's state as it is. One linear decoder reads every state, s_0 too; the loss is the
    mean over the (E + 1) x D of them, with 0.01 * penalty * the mean over m of mean (s_m - s_{m-1})^2. Several labels
    are the columns of the decoder, which is the same as a decoder for each.

    Args:
        widths: sizes of the features, in the order of the sequence.
        outputs: C.
        options: `state`, `hidden`, `penalty`, `dropout` (inside the encoders), `modality_dropout`.
        by_row: see `Standardise`.

    Example:
        >>> head = SequentialFusion([4, 3], 2, FusionOptions(how="sequential"))
        >>> there = torch.tensor([[True, False], [False, False]])
        >>> states = head([torch.randn(2, 4), torch.randn(2, 3)], there).states
        >>> states.shape, bool((states[1] == states[2]).all()), bool((states[0, 1] == states[2, 1]).all())
        (torch.Size([3, 2, 2]), True, True)
    """

    def __init__(self, widths: Sequence[int], outputs: int, options: FusionOptions, by_row: bool = False) -> None:
        super().__init__(widths, outputs, options, by_row)
        self.start = nn.Parameter(0.1 * torch.randn(options.state))
        self.encoders = nn.ModuleList(
            nn.Sequential(
                nn.Linear(options.state + width, options.hidden),
                nn.ReLU(),
                nn.Dropout(options.dropout),
                nn.Linear(options.hidden, options.state),
            )
            for width in widths
        )
        self.decoder = nn.Linear(options.state, outputs)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> HeadOutput:
        """M features (B, d_m) and (B, M) which are there -> `HeadOutput` with M + 1 states."""
        made, present = self._prepared(features, present)
        state = self.start.expand(len(present), -1)
        states, changes = [state], []
        for m, (encoder, x) in enumerate(zip(self.encoders, made)):
            changed = torch.where(present[:, m : m + 1], encoder(torch.cat([state, x], 1)), state)
            changes.append((changed - state).square().mean())
            state = changed
            states.append(state)
        decoded = self.decoder(torch.stack(states))
        return HeadOutput(decoded[-1], decoded, 0.01 * self.options.penalty * torch.stack(changes).mean())
