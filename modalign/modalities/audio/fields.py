"""What a manifest may say of an audio recording: `AudioFields`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class AudioFields(BaseModel):
    """The columns `audio.<key>` of a manifest.

    Attributes:
        rate: samples per second (Hz). Needed for arrays; for a file it must be what the header says.
        start: the window's beginning, seconds from the recording's first sample.
        end: the window's end, seconds from the recording's first sample.
        channel: "mix" (the mean of the channels; the default), "left", "right", or a number from 0.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    start: float | None = Field(None, ge=0, allow_inf_nan=False)
    end: float | None = Field(None, gt=0, allow_inf_nan=False)
    channel: str = "mix"

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("channel")
    @classmethod
    def _known(cls, value: str) -> str:
        value = value.lower().removesuffix(".0")  # a column with empty cells is read as numbers with a point
        if value not in ("mix", "left", "right") and not value.isdecimal():
            raise ValueError("is mix, left, right, or a number from 0")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> AudioFields:
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end ({self.end:g} s) must come after start ({self.start or 0:g} s)")
        return self
