"""ProtoCLIP: rows against prototypes, the centres of clusters that are found anew before each epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from modalign.align.losses.registry import StatefulLoss, Training, register_loss
from modalign.align.losses.targets import soft_cross_entropy
from modalign.errors import RecipeError


@register_loss("protoclip")
class ProtoClip(StatefulLoss):
    """`[CE(s x C_y^T, q_y) + CE(s y C_x^T, q_x)] / 2`, C_y the centres of the clusters of y.

    Chen et al. 2022, by their public code; published with InfoNCE beside it: give that as the first loss and this in
    `loss.plus`. `q_y` is the softmax of the own centre's similarities to all centres. With as many clusters as rows,
    hard targets and no back-translation it is InfoNCE over the training rows.

    Args:
        clusters: how many, of each tower.
        temperature: of the soft targets; 0: hard ones.
        back_translation: hold rows against the centres of their own tower's embeddings under the other's clusters,
            as published, so that the gap between the towers does not matter.

    Raises:
        RecipeError: more clusters than rows.
    """

    by_row = ("cluster_x", "cluster_y")

    def __init__(self, clusters: int = 64, temperature: float = 0.1, back_translation: bool = True) -> None:
        super().__init__()
        if clusters < 2:
            raise RecipeError(f"loss.options.clusters: {clusters!r}; two or more are needed to contrast")
        self.clusters, self.temperature, self.back_translation = clusters, temperature, back_translation

    def start(self, training: Training) -> None:
        """Make room for the clusters of `training.size` rows."""
        for side in "xy":
            self.register_buffer(f"cluster_{side}", torch.full((training.size,), -1))
            self.register_buffer(f"centres_{side}", torch.zeros(self.clusters, training.dim))
            self.register_buffer(f"translated_{side}", torch.zeros(self.clusters, training.dim))

    def epoch(self, training: Training) -> None:
        """Cluster the training rows' embeddings, those that have both towers."""
        from sklearn.cluster import MiniBatchKMeans

        embedded = dict(zip("xy", (training.embed(tower) for tower in training.names)))
        both = torch.stack([e.any(1) for e in embedded.values()]).all(0)
        if int(both.sum()) < self.clusters:
            raise RecipeError(
                f"loss.options.clusters: {self.clusters} clusters of {int(both.sum())} rows that have "
                f"{' and '.join(training.names)}; set fewer"
            )
        for side, other in ("xy", "yx"):
            means = MiniBatchKMeans(self.clusters, random_state=0, n_init=3, batch_size=4096)
            found = torch.from_numpy(means.fit_predict(embedded[side][both].numpy())).long()
            self.take(side, both, found, embedded[side], embedded[other])

    @torch.no_grad()
    def take(self, side: str, both: Tensor, found: Tensor, own: Tensor, other: Tensor) -> None:
        """Keep the clusters of one side.

        Args:
            side: "x" or "y".
            both: (N,) rows that are clustered.
            found: their clusters.
            own, other: (N, d) embeddings of this side and of the other.
        """
        labels, centres, translated = (getattr(self, f"{n}_{side}") for n in ("cluster", "centres", "translated"))
        labels.fill_(-1)
        labels[both.to(labels.device)] = found.to(labels.device)
        for into, rows in ((centres, own[both]), (translated, other[both])):
            sums = torch.zeros(self.clusters, rows.shape[1]).index_add(0, found, rows.float())
            count = torch.bincount(found, minlength=self.clusters).clamp_min(1).unsqueeze(1)
            into.copy_(sums / count)

    def forward(self, x: Tensor, y: Tensor, scale: Tensor, rows: Tensor) -> Tensor:
        """The loss.

        Args:
            x: (B, d) unit rows.
            y: (B, d) unit rows, row i paired with x's row i.
            scale: 1 / temperature, a scalar.
            rows: (B,) positions in the training rows.
        """
        return (self._against(x, "y", scale, rows) + self._against(y, "x", scale, rows)) / 2

    def _against(self, own: Tensor, side: str, scale: Tensor, rows: Tensor) -> Tensor:
        centres = getattr(self, f"centres_{side}").to(own.dtype)
        labels = getattr(self, f"cluster_{side}")[rows]
        if self.temperature > 0:
            targets = (centres[labels] @ centres.T / self.temperature).softmax(1)
        else:
            targets = torch.nn.functional.one_hot(labels, self.clusters).to(own.dtype)
        held = getattr(self, f"translated_{side}").to(own.dtype) if self.back_translation else centres
        return soft_cross_entropy(scale * own @ held.T, targets)
