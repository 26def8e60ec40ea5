"""Gradient-weighted attention relevance through a transformer (Chefer, Gur, Wolf 2021).

Per layer `Abar = mean over heads of max(0, grad A * A)`, and `C` is the product of all `I + Abar`, last layer first,
without normalising rows. The rows of what is pooled (the class token's, or the mean of all), less their own part, say
how much each token counts.

Source: "Generic attention-model explainability for interpreting bi-modal and encoder-decoder transformers", ICCV 2021;
MoRE (svthapa/MoRE at 62c1cec) uses the authors' earlier rule ("Transformer interpretability beyond attention
visualization", CVPR 2021), which has in the place of A its relevance R_A by layer-wise propagation through every layer
above. That needs each layer rewritten; here the attention itself is weighted, which any model allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modalign.errors import ModelError
from modalign.modalities.spans import TokenSpans, spread
from modalign.tasks.explain.capture import captured
from modalign.tasks.explain.registry import Window, register_method


def weighted(attention: Tensor, gradient: Tensor) -> Tensor:
    """`Abar` (N, L, L) of attention and its gradient (N, H, L, L)."""
    return (gradient * attention).clamp_min(0).mean(1)


def product(layers: Sequence[Tensor], rows: Tensor) -> Tensor:
    """`rows @ C`, with C the product of all `I + Abar`, the last layer first.

    Args:
        layers: `Abar` (N, L, L) of each layer, the first one first.
        rows: (N, R, L); the identity gives C itself.

    Example:
        >>> product([torch.zeros(1, 2, 2)] * 3, torch.eye(2)[None])[0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    for layer in reversed(layers):
        rows = rows + rows @ layer
    return rows


def rows_of(spans: TokenSpans, groups: int) -> Tensor:
    """`spans.read` by groups: (N, 1, L)."""
    return spans.read.view(groups, 1, -1)


def attention_of(window: Window, gradients: bool) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Each layer's attention (N, H, L, L), its gradient, and the absolute gradient x input of the main input.

    Raises:
        ModelError: no layer's attention is over the tokens that the encoder names.
    """
    assert window.spans is not None
    main = window.main.detach().clone()
    floats = gradients and main.is_floating_point()
    with torch.set_grad_enabled(gradients), captured(len(window.spans.spans)) as layers:
        if floats:
            main.requires_grad_()
        value = window.run(main).sum()
    if not layers:
        raise ModelError(
            f"explain: no self-attention over {len(window.spans.spans)} tokens was met in the encoder of "
            f"{window.name!r}; use --method gradients or occlusion"
        )
    if not gradients:
        return [layer.detach().float().cpu() for layer in layers], [], None
    wanted = [*layers, main] if floats else list(layers)
    found = torch.autograd.grad(value, wanted, allow_unused=True)
    slopes = [torch.zeros_like(a) if g is None else g for a, g in zip(layers, found)]
    saliency = None
    if floats and found[-1] is not None:
        saliency = (found[-1] * main).detach().abs()[0].float().cpu()
    return [a.detach().float().cpu() for a in layers], [g.float().cpu() for g in slopes], saliency


@register_method(
    "attention",
    "gradient-weighted attention",
    "it needs self-attention whose tokens stand for parts of the input",
    lambda window: window.spans is not None,
    compares=False,
)
def attention(window: Window) -> Tensor:
    """Relevance of the main input, not negative: each token's, spread over what it stands for.

    A token that stands for several leads or channels is shared among them by the absolute gradient x input within it
    [M], since the attention itself does not tell them apart.
    """
    spans = window.spans
    assert spans is not None
    layers, slopes, saliency = attention_of(window, gradients=True)
    rows = rows_of(spans, layers[0].shape[0])
    relevance = product([weighted(a, g) for a, g in zip(layers, slopes)], rows) - rows
    return spread(relevance.flatten(), spans.spans, window.main.shape[1:], saliency)
