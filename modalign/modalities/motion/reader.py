"""Source -> Signal: which columns, which samples, which units. Each step is a pure function of its own file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from modalign.errors import ReadError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.messages import describe_source
from modalign.modalities.motion import timing, units
from modalign.modalities.motion.fields import STANDARD, MotionFields, canonical, of_sensor, split_channel, triples
from modalign.modalities.motion.sources import Table, open_table


def read_motion(source: Any, fields: MotionFields) -> Signal:
    """Read a recording, or a window of it.

    Args:
        source: a Path (.csv, .csv.gz, .tsv, .parquet, .npy), an array or tensor (T, C), or a DataFrame.
        fields: what the source cannot say of itself.

    Returns:
        Signal of data (C, T): specific force in m/s2 (`acc_x` ...), rotation in rad/s (`gyro_x` ...), channels by
        location, then acc before gyro, then x y z; rate in Hz; meta `location`, `source_rate`.

    Raises:
        ReadError: anything that is missing, ambiguous or implausible; names the source and the mend.

    Example:
        >>> array = np.tile([0.0, 0.0, 1.0], (100, 1))
        >>> signal = read_motion(array, MotionFields(columns="acc_x,acc_y,acc_z", unit="g", rate=50))
        >>> tuple(signal.data.shape), round(float(signal.data[2, 0]), 3)
        ((3, 100), 9.807)
    """
    where = describe_source(source)
    table = open_table(source, where, fields.columns)
    if table.rows == 0:
        raise ReadError(f"{where}: has no rows; copy or record it again")
    columns = choose_columns(table, fields)
    _check_statements(columns, fields, where)
    window = _window(table, fields, where)
    names = canonical(columns)
    block = window.resample(table.block([columns[name] for name in names], window.rows))
    if fields.gravity:
        gravity = window.resample(table.block(fields.gravity, window.rows))
    else:
        gravity = None
    data = _in_si(block, gravity, names, fields)
    _check_plausible(data, names, window.rate, fields, where)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and `load` refuses it
        values = torch.from_numpy(np.ascontiguousarray(data.T, dtype=np.float32))
    meta = {"location": fields.location or "", "source_rate": window.source_rate}
    return Signal(values, window.rate, tuple(names), meta)


def choose_columns(table: Table, fields: MotionFields) -> dict[str, str]:
    """Channel -> source column.

    Raises:
        ReadError: a column is not there, or none is a channel.
    """
    used = {fields.time, *(fields.gravity or ())}
    if isinstance(fields.columns, Mapping):
        columns = dict(fields.columns)
    elif fields.columns is not None:
        for name in fields.columns:
            if name != "-" and split_channel(name) is None and name not in used:
                raise ReadError(
                    f"{table.where}: motion.columns names {name!r}, which is no channel: {suggest(name, STANDARD)}; "
                    "write '-' for a column to skip"
                )
        columns = {name: name for name in fields.columns if split_channel(name)}
    else:
        columns = _standard_columns(table, used)
    if not columns:
        raise ReadError(f"{table.where}: motion.columns names no channel; known: {', '.join(STANDARD)}")
    return columns


def _standard_columns(table: Table, used: set[str | None]) -> dict[str, str]:
    columns = {name: name for name in table.names if split_channel(name)}
    # A name that is nearly standard would be left out without a word.
    near = [n for n in table.names if n not in columns and n not in used and split_channel(n.lower().replace(" ", "_"))]
    if columns and not near:
        return columns
    example = ", ".join(f"{channel}={name}" for channel, name in zip(STANDARD, near or table.names) if name)
    raise ReadError(
        f"{table.where}: motion.columns must say which column is which channel; the file has "
        f"{', '.join(repr(n) for n in table.names)}, the channels are {', '.join(STANDARD)}; write them as {example!r}"
    )


def _check_statements(columns: Mapping[str, str], fields: MotionFields, where: str) -> None:
    """Refuse what only the owner of the recording can say and did not."""
    if of_sensor(columns, "acc") and fields.unit is None:
        raise ReadError(f"{where}: motion.unit is missing; say g or m/s2")
    if of_sensor(columns, "gyro") and fields.gyro_unit is None:
        raise ReadError(f"{where}: motion.gyro_unit is missing; say deg/s or rad/s")
    if fields.rate is None and fields.time is None:
        raise ReadError(
            f"{where}: the rate is not known; set motion.rate (Hz), or motion.time (the time column) and its time_unit"
        )
    if fields.irregular == "resample" and fields.time is None:
        raise ReadError(f"{where}: motion.irregular = resample needs motion.time, the column with the time stamps")
    accelerations = [columns[name] for name in of_sensor(columns, "acc")]
    apple = units.looks_ios([*accelerations, *(fields.gravity or ())])
    if apple and fields.convention is None:
        raise ReadError(
            f"{where}: {apple[0]!r} is a name of Core Motion, whose gravity points down; set motion.convention = ios, "
            "or specific_force where the sign was changed already"
        )
    apart = any("useracc" in name.lower().replace("_", "").replace(" ", "") for name in accelerations)
    if fields.convention == "ios" and apart and fields.gravity is None:
        raise ReadError(f"{where}: userAcceleration is without gravity; set motion.gravity to gravity's three columns")
    linear = units.looks_linear(accelerations)
    if linear and fields.gravity is None:
        # A table may also call the whole acceleration so; then it says specific_force, as for Core Motion's names.
        if fields.convention is None:
            raise ReadError(
                f"{where}: {linear[0]!r} is a name of Android for acceleration without gravity; set motion.convention "
                "= android and motion.gravity to gravity's three columns, or specific_force where gravity is in it"
            )
        if fields.convention == "android":
            raise ReadError(
                f"{where}: linear acceleration is without gravity; set motion.gravity to gravity's three columns"
            )
    if fields.gravity is None:
        return
    if fields.convention not in ("ios", "android"):
        raise ReadError(
            f"{where}: motion.gravity is for motion.convention = ios or android; set it, or leave motion.gravity out"
        )
    if len(of_sensor(columns, "acc")) != 3 or len([k for k in triples(columns) if k[1] == "acc"]) != 1:
        raise ReadError(
            f"{where}: motion.gravity needs acc_x, acc_y and acc_z of one device; map all three in motion.columns"
        )


def _window(table: Table, fields: MotionFields, where: str) -> timing.Window:
    if fields.time is None:
        assert fields.rate is not None  # refused before otherwise
        return timing.window_by_rate(table.rows, fields.rate, fields.start, fields.end, where)
    elapsed = timing.seconds(table.raw(fields.time), fields.time_unit, where)
    return timing.window_by_stamps(
        elapsed, fields.rate, start=fields.start, end=fields.end, irregular=fields.irregular, where=where
    )


def _in_si(block: Any, gravity: Any, names: list[str], fields: MotionFields) -> Any:
    acc = [names.index(name) for name in of_sensor(names, "acc")]
    gyro = [names.index(name) for name in of_sensor(names, "gyro")]
    data = np.empty_like(block)
    if acc:
        data[:, acc] = units.specific_force(
            block[:, acc], gravity, fields.unit or "", fields.convention or "specific_force"
        )
    if gyro:
        data[:, gyro] = units.rotation(block[:, gyro], fields.gyro_unit or "")
    return data


def _check_plausible(data: Any, names: list[str], rate: float, fields: MotionFields, where: str) -> None:
    for (_, sensor), rows in triples(names).items():
        if sensor == "acc" and len(data) >= rate:
            units.check_force(data[:, rows], fields.unit or "", where)
    gyro = [names.index(name) for name in of_sensor(names, "gyro")]
    if gyro:
        units.check_rotation(data[:, gyro], fields.gyro_unit or "", where)
