"""What a manifest may say of an ECG: `EcgFields`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from modalign.errors import suggest
from modalign.modalities.ecg.leads import STANDARD, lead_name


def parse_leads(value: Any) -> Any:
    """Leads as written in a cell -> a mapping lead -> source channel, or a tuple of leads in channel order.

    Example:
        >>> parse_leads("ii, -, v1"), parse_leads("II=MLII, V1=ch2")
        (('II', '-', 'V1'), {'II': 'MLII', 'V1': 'ch2'})

    Raises:
        ValueError: a name is no lead, or is given twice.
    """
    if value is None:
        return None
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, Mapping):
        parts = [f"{lead}={source}" for lead, source in value.items()]
    else:
        parts = [str(part).strip() for part in value]
    if not parts:
        raise ValueError("names no lead")
    mapped = [part for part in parts if "=" in part]
    if mapped and len(mapped) != len(parts):
        bare = next(part for part in parts if "=" not in part)
        raise ValueError(f"{bare!r} says no source channel; write lead=channel for each, or names alone")
    if not mapped:
        leads = [part if part == "-" else _lead(part) for part in parts]
        _refuse_repeats(lead for lead in leads if lead != "-")
        return tuple(leads)
    pairs = [(_lead(lead.strip()), source.strip()) for lead, source in (part.split("=", 1) for part in mapped)]
    _refuse_repeats(lead for lead, _ in pairs)
    _refuse_repeats(source for _, source in pairs)
    return dict(pairs)


def _lead(name: str) -> str:
    known = lead_name(name)
    if known is None:
        raise ValueError(f"{name!r} is no lead: {suggest(name, STANDARD)}; '-' skips a channel")
    return known


def _refuse_repeats(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen.add(name)


class EcgFields(BaseModel):
    """The columns `ecg.<key>` of a manifest: what a file cannot say, or says wrongly.

    Attributes:
        leads: which channels are which leads: names in channel order (`-` skips one), or `II=MLII, V1=ch2` to go by
            the file's own names. Needed for arrays and for files whose channels have no names.
        rate: samples per second (Hz). Needed where the file does not say it; must agree with the file where it does.
        unit: of the stored numbers, where the file does not say it; must agree with the file where it does.
        gain: stored numbers per mV: mV = (stored - baseline) / gain. It takes the place of the file's gain and unit,
            and the check of plausible voltages is then not made, since the manifest's word stands.
        start: the window's beginning, seconds from the first sample.
        end: the window's end, seconds from the first sample.
        derive: add the limb leads that follow from two of I, II, III.
        nan: what to do with samples that are marked invalid: "refuse" (default), or "interpolate" linearly; a lead
            of which more than half is invalid is then left out.
        group: which waveform of a DICOM file, from 0, where it has several recordings.
        checksum: "verify" (default) refuses WFDB signals that differ from the header's checksum; "ignore" does not.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    leads: Annotated[dict[str, str] | tuple[str, ...] | None, BeforeValidator(parse_leads)] = None
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    unit: Literal["mV", "uV", "V"] | None = None
    gain: float | None = Field(None, gt=0, allow_inf_nan=False)
    start: float | None = Field(None, ge=0, allow_inf_nan=False)
    end: float | None = Field(None, gt=0, allow_inf_nan=False)
    derive: bool = False
    nan: Literal["refuse", "interpolate"] = "refuse"
    group: int | None = Field(None, ge=0)
    checksum: Literal["verify", "ignore"] = "verify"

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _ordered(self) -> EcgFields:
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end ({self.end:g} s) is not after start ({self.start or 0:g} s)")
        return self
