"""What a manifest may say of a motion recording: `MotionFields`, and the names that channels have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from modalign.errors import suggest

AXES = ("x", "y", "z")
STANDARD = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
_CHANNEL = re.compile(r"(?:(?P<location>[^/\s]+)/)?(?P<sensor>acc|gyro)_(?P<axis>[xyz])")


@lru_cache(maxsize=4096)
def split_channel(name: str) -> tuple[str, str, str] | None:
    """Location (or ""), sensor and axis of a channel's name; None where it is no such name.

    Example:
        >>> split_channel("wrist/acc_x"), split_channel("gyro_z"), split_channel("accX")
        (('wrist', 'acc', 'x'), ('', 'gyro', 'z'), None)
    """
    match = _CHANNEL.fullmatch(name)
    return (match["location"] or "", match["sensor"], match["axis"]) if match else None


def of_sensor(channels: Iterable[str], sensor: str) -> list[str]:
    """The channels of one sensor ("acc" or "gyro"), at any location."""
    return [name for name in channels if (parts := split_channel(name)) and parts[1] == sensor]


def triples(channels: Iterable[str]) -> dict[tuple[str, str], list[int]]:
    """(location, sensor) -> rows of its x, y and z, for the sensors that have all three.

    Example:
        >>> triples(["acc_z", "acc_y", "acc_x", "gyro_x"])
        {('', 'acc'): [2, 1, 0]}
    """
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for row, name in enumerate(channels):
        if parts := split_channel(name):
            rows.setdefault(parts[:2], {})[parts[2]] = row
    return {key: [axes[a] for a in AXES] for key, axes in rows.items() if len(axes) == 3}


def canonical(channels: Iterable[str]) -> list[str]:
    """Channels by location (none first, then by name), accelerometer before gyroscope, x y z."""
    return sorted(channels, key=lambda name: split_channel(name) or ("", name, ""))


def parse_columns(value: Any) -> Any:
    """Columns as written in a cell -> a mapping channel -> source column, or a tuple of names in column order.

    Example:
        >>> parse_columns("acc_x=accX, acc_y=accY"), parse_columns("-, acc_x")
        ({'acc_x': 'accX', 'acc_y': 'accY'}, ('-', 'acc_x'))

    Raises:
        ValueError: a name is not a channel, or is given twice.
    """
    if value is None:
        return None
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        mapped = [part for part in parts if "=" in part]
        if mapped and len(mapped) != len(parts):
            bare = next(part for part in parts if "=" not in part)
            raise ValueError(f"{bare!r} says no source column; write channel=column for each, or names alone")
        pairs = [tuple(part.split("=", 1)) for part in mapped]
    elif isinstance(value, Mapping):
        parts, pairs = [], [(str(k), str(v)) for k, v in value.items()]
    else:
        parts, pairs = [str(part) for part in value], []
    if not pairs:
        if not parts:
            raise ValueError("names no column")
        _refuse_repeats(part for part in parts if part != "-")
        return tuple(parts)
    columns = {channel.strip(): source.strip() for channel, source in pairs}
    _refuse_repeats(channel.strip() for channel, _ in pairs)
    _refuse_repeats(columns.values())
    for channel in columns:
        if split_channel(channel) is None:
            raise ValueError(
                f"{channel!r} is not a channel: {suggest(channel, STANDARD)}; put a location before it as wrist/acc_x"
            )
    return columns


def _refuse_repeats(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen.add(name)


def _parse_gravity(value: Any) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if value is not None and len(value) != 3:
        raise ValueError("names three columns, x, y and z, as gravity.x,gravity.y,gravity.z")
    return value


class MotionFields(BaseModel):
    """The columns `motion.<key>` of a manifest. Nothing here is guessed: what a file cannot say is said here.

    Attributes:
        columns: which source columns are which channels: `acc_x=accX, acc_y=accY, ...`; or, for arrays and for tables
            without a header, names in column order (`-` skips one). May be left out where a table's own names are
            the standard ones (acc_x ... gyro_z, with a location before them as wrist/acc_x where there are several).
        rate: samples per second (Hz). Needed where there is no time column.
        time: the column that holds time stamps.
        time_unit: the unit of the stamps; needed unless they are of a date type.
        unit: the accelerometer's unit; needed where there is an accelerometer.
        gyro_unit: the gyroscope's unit; needed where there is a gyroscope.
        convention: "specific_force": at rest the axis that points up reads +1 g (Android, most data sets; the default).
            "ios": Core Motion, where it reads -1 g; specific force = -(gravity + userAcceleration).
            "android": as specific_force; what its sensors call linear acceleration comes without gravity, and specific
            force = gravity + linear acceleration. Must be stated where columns have names of Core Motion or say linear.
        gravity: for "ios" and "android": the columns of gravity (x, y, z), where they come apart from the acceleration.
        start: the window's beginning, seconds from the recording's first sample.
        end: the window's end, seconds from the recording's first sample.
        location: where the device was worn, free text.
        irregular: what to do with stamps that are not regular: "refuse" (default), or "resample" by linear
            interpolation onto a regular grid.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    columns: Annotated[dict[str, str] | tuple[str, ...] | None, BeforeValidator(parse_columns)] = None
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    time: str | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    unit: Literal["g", "m/s2"] | None = None
    gyro_unit: Literal["deg/s", "rad/s"] | None = None
    convention: Literal["specific_force", "ios", "android"] | None = None
    gravity: Annotated[tuple[str, str, str] | None, BeforeValidator(_parse_gravity)] = None
    start: float | None = Field(None, ge=0, allow_inf_nan=False)
    end: float | None = Field(None, gt=0, allow_inf_nan=False)
    location: str | None = None
    irregular: Literal["refuse", "resample"] = "refuse"

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value
