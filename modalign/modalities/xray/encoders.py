"""The encoders of X-ray images by name: the 2-D ones."""

from __future__ import annotations

from modalign.modalities.imaging.encoders2d import ENCODERS_2D as ENCODERS

__all__ = ["ENCODERS"]
