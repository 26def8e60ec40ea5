"""What a manifest may say of an X-ray image: `XrayFields`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

VIEWS = {"AP": "AP", "PA": "PA", "ANTERO": "AP", "POSTERO": "PA", "LAT": "LATERAL", "L": "LATERAL"}
"""First words of a view -> its name: `postero-anterior` is PA."""
LATERAL = frozenset({"LATERAL", "LL", "RL", "LLD", "RLD"})
"""Views from the side. "LATERAL" agrees with each of them."""


def parse_range(value: Any) -> Any:
    """`"0,255"` (or two numbers) -> (low, high).

    Example:
        >>> parse_range("-1000, 3000")
        (-1000.0, 3000.0)

    Raises:
        ValueError: these are not two finite numbers, the lower one first.
    """
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else list(value)
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError("is two numbers, black first, as '0,255'") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("is two numbers, the one for black below the one for white; invert with photometric")
    return low, high


def view_name(value: str) -> str:
    """A view position, one name for its spellings.

    Example:
        >>> view_name("lat"), view_name("AP_SUPINE"), view_name("postero-anterior"), view_name("LL")
        ('LATERAL', 'AP', 'PA', 'LL')
    """
    words = re.split(r"[\s_\-]+", value.strip().upper())
    if words[0] in VIEWS:
        return VIEWS[words[0]]
    return "LATERAL" if "LATERAL" in words else " ".join(words)


class XrayFields(BaseModel):
    """The columns `xray.<key>` of a manifest: what a file cannot say, or says wrongly.

    Attributes:
        view: view position (PA, AP, LATERAL, LL ...); must agree with the file where it says it too.
        laterality: which side of the body is shown: L, R, or B (both); must agree with the file.
        window: what a DICOM file's values are shown through: a number from 0 (which of its windows), "lut" or "lut1"
            (which of its VOI tables, from 0), or "full" (none: the whole range). Needed where it has several windows.
        frame: which frame of a file with several, from 0.
        bits: bits that the values of a 16-bit PNG or TIFF use. Needed where they would fit 12 bits or fewer.
        range: the values of black and white, as "0,4095". Needed for arrays (but uint8) and for float or 32-bit TIFF.
        color: what to do with an image that is not grey: "refuse" (default), or take its "luminance" (ITU-R 601).
        photometric: "MONOCHROME1" (high values are dark) or "MONOCHROME2". For files and arrays that are negatives,
            and in the place of a DICOM header that is wrong.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    view: str | None = Field(None, min_length=1, max_length=16)
    laterality: Literal["L", "R", "B"] | None = None
    window: str | None = None
    frame: int | None = Field(None, ge=0)
    bits: int | None = Field(None, ge=1, le=16)
    range: Annotated[tuple[float, float] | None, BeforeValidator(parse_range)] = None
    color: Literal["refuse", "luminance"] = "refuse"
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("laterality", "photometric", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("view")
    @classmethod
    def _view(cls, value: str | None) -> str | None:
        return None if value is None else view_name(value)

    @field_validator("window")
    @classmethod
    def _window(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.lower().removesuffix(".0")  # a column with empty cells is read as numbers with a point
        if not re.fullmatch(r"full|lut\d*|\d+", value):
            raise ValueError("is a number from 0, lut, lut1 ..., or full")
        return value
