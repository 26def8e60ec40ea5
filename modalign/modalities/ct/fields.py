"""What a manifest may say of a CT: `CtFields`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from modalign.modalities.ct.geometry import from_code
from modalign.modalities.ct.kept import parse_slices


def parse_numbers(value: Any) -> Any:
    """ "0.7, 0.7, 2" -> (0.7, 0.7, 2.0); a lone number stands for each axis."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = [float(part) for part in value.split(",")]
        except ValueError:
            raise ValueError("is not numbers with commas between") from None
    if isinstance(value, (int, float)):
        value = [value]
    numbers = tuple(value)
    return numbers * 3 if len(numbers) == 1 else numbers


Spacing = Annotated[tuple[float, float, float], BeforeValidator(parse_numbers)]


class CtFields(BaseModel):
    """The columns `ct.<key>` of a manifest: what a file cannot say.

    Attributes:
        unit: of the stored numbers: "HU"; "raw" (HU = slope * stored + intercept); or "none" for what is no density at
            all (masks, shapes). NIfTI, NRRD and arrays need it. DICOM says HU itself; "raw" takes the place of its
            rescale, and "none" takes rescaled values as they are.
        slope: for `unit: raw`, 1 by default.
        intercept: for `unit: raw`, 0 by default. With "raw" the manifest's word stands, and values are not checked.
        spacing: mm along the three axes of an array, as "0.7, 0.7, 2".
        axes: where the three axes of an array run to, as "RAS", "LPS" or "SPL" (SimpleITK's arrays). Also for NIfTI
            files without orientation.
        series: which series of a DICOM folder: its SeriesNumber, or the end of its SeriesInstanceUID.
        resample: put slices that are tilted, unevenly spaced or lacking on a regular grid in their true places.
        tilt: "check" (default) refuses series whose GantryDetectorTilt contradicts the orientation of their slices;
            "ignore" goes by positions and orientation.
        slices: which slices are kept, the lowest being 0, as "0-3, 7"; `modalign data reduce` writes it. Spacing is
            then known only where they are evenly spaced.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    unit: Literal["HU", "raw", "none"] | None = None
    slope: float | None = Field(None, allow_inf_nan=False)
    intercept: float | None = Field(None, allow_inf_nan=False)
    spacing: Spacing | None = None
    axes: str | None = None
    series: str | None = Field(None, min_length=1)
    resample: bool = False
    tilt: Literal["check", "ignore"] = "check"
    slices: Annotated[tuple[int, ...] | None, BeforeValidator(parse_slices)] = None

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("axes")
    @classmethod
    def _code(cls, value: str | None) -> str | None:
        if value is not None:
            from_code(value, (1, 1, 1))
        return value.upper() if value else None

    @field_validator("spacing")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value is not None and not all(0.005 <= mm <= 100 for mm in value):
            raise ValueError("is three numbers of mm, 0.005 to 100")
        return value

    @model_validator(mode="after")
    def _raw_alone_is_scaled(self) -> CtFields:
        if self.unit != "raw" and (self.slope is not None or self.intercept is not None):
            raise ValueError("slope and intercept go with unit = raw")
        if self.slope == 0:
            raise ValueError("slope is 0, so that every voxel would be alike")
        return self
