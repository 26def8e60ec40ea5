"""`modalign data simulate`: data sets that need no recording, and sensors on recorded skeletons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modalign.modalities.base import Signal
    from modalign.modalities.motion.skeleton import Clip

group = typer.Typer(help="Simulated data sets.", no_args_is_help=True, rich_markup_mode=None)
ALSO = {"jogging": "running", "laying": "lying", "upstairs": "walking upstairs", "downstairs": "walking downstairs"}
"""Labels of data sets -> what is simulated beside them."""

Out = Annotated[Path, typer.Option("--out", help="The folder to write.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything is a function of it.")]
Places = Annotated[
    list[str] | None,
    typer.Option("--place", help="Where the device is ('right pocket', 'left wrist', 'chest', ...); may be repeated."),
]


@group.command("motion")
def motion_command(
    out: Out,
    count: Annotated[int, typer.Option("--count", help="Recordings.")],
    seed: Seed = 0,
    place: Places = None,
    activity: Annotated[
        list[str] | None, typer.Option("--activity", help="May be repeated; all where it is left out.")
    ] = None,
    mounting: Annotated[str, typer.Option("--mounting", help="usual, aligned (with the bone) or random.")] = "usual",
    seconds: Annotated[float, typer.Option("--seconds", help="Of each recording.")] = 10.0,
    rate: Annotated[float, typer.Option("--rate", help="Hz.")] = 50.0,
) -> None:
    """Simulate people who move, what a device on them reads, and sentences on it: OUT/manifest.csv.

    Without --place, there is a sensor on each of UniMTS's 22 joints.

    Example:

      modalign data simulate motion --out sim --count 3000 --seed 1 --place 'right pocket' --place 'left pocket'
    """
    from modalign.cli._common import bar
    from modalign.datasets.simulate.manifest import write_simulated
    from modalign.datasets.simulate.motion import ACTIVITIES, WHOLE_BODY

    with bar("simulating", count) as advance:
        path = write_simulated(
            out, count, seed, activities=activity or ACTIVITIES, places=place or [WHOLE_BODY], mounting=mounting,
            seconds=seconds, rate=rate, advance=advance,
        )  # fmt: skip
    print(f"Wrote {path}")


@group.command("ecg")
def ecg_command(
    out: Out,
    number: Annotated[int, typer.Option("--number", help="Recordings.")],
    seed: Seed = 0,
    finding: Annotated[
        list[str] | None,
        typer.Option("--finding", help="As 'atrial fibrillation'; may be repeated; all where it is left out."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Of each recording.")] = 10.0,
    rate: Annotated[float, typer.Option("--rate", help="Hz.")] = 500.0,
    noise: Annotated[float, typer.Option("--noise", help="1 as in an ordinary recording, 0 for none.")] = 1.0,
) -> None:
    """Simulate 12-lead ECGs of one heart vector, with labels and a report on each: OUT/manifest.csv.

    They are synthetic: of no patient, and fit to teach a model words, not to judge one.

    Example:

      modalign data simulate ecg --out sim --number 3000 --seed 1 --rate 100
    """
    from modalign.cli._common import bar
    from modalign.datasets.simulate.ecg.findings import FINDINGS
    from modalign.datasets.simulate.ecg.manifest import write_simulated_ecg

    with bar("simulating", number) as advance:
        path = write_simulated_ecg(
            out, number, seed, findings=finding or tuple(FINDINGS), seconds=seconds, rate=rate, noise=noise,
            advance=advance,
        )  # fmt: skip
    print(f"Wrote {path}: synthetic recordings")


@group.command("skeleton")
def skeleton_command(
    file: Annotated[Path, typer.Argument(help="A .bvh, .amc or .npy (T, 22, 3) file; .bvh.gz and .amc.gz too.")],
    out: Annotated[Path, typer.Option("--out", help="The table to write (.parquet).")],
    joint: Annotated[
        list[str] | None, typer.Option("--joint", help="One of the 22 joints, as left_wrist; may be repeated.")
    ] = None,
    skeleton: Annotated[Path | None, typer.Option("--skeleton", help="The .asf file of an .amc file.")] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="Metres in one unit of a .bvh file.")] = None,
    frames: Annotated[
        float | None, typer.Option("--frames", help="Frames per second of an .amc (default 120) or .npy file.")
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Of the sensors, Hz.")] = 50.0,
    cutoff: Annotated[
        float | None, typer.Option("--cutoff", help="Hz: smooth the movement below it; 15 suits optical markers.")
    ] = None,
) -> None:
    """Write what sensors on the joints of a recorded skeleton read: acceleration in m/s2, rotation in rad/s.

    A .npy file holds positions in metres in HumanML3D's order, with y up.

    Example:

      modalign data simulate skeleton 02_01.amc.gz --skeleton 02.asf --joint right_hip --cutoff 15 --out walk.parquet
    """
    import pandas as pd

    from modalign.errors import RecipeError
    from modalign.modalities.motion.skeleton import clip_to_imu

    if out.suffix != ".parquet":
        raise RecipeError(f"--out {out}: the table is written as .parquet")
    clip = _clip(file, skeleton, scale, frames)
    signal = clip_to_imu(clip.body(), joint, rate=rate, cutoff=cutoff)
    out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(signal.data.numpy().T, columns=list(signal.channels)).to_parquet(out, index=False)
    length = signal.data.shape[1] / rate
    print(f"Wrote {out}: {length:.2f} s at {rate:g} Hz; motion.rate = {rate:g}, unit = m/s2, gyro_unit = rad/s")


def _clip(file: Path, skeleton: Path | None, scale: float | None, frames: float | None) -> Clip:
    import numpy as np

    from modalign.errors import ReadError, RecipeError
    from modalign.modalities.motion.skeleton import HUMANML3D, clip_from_positions, read_amc, read_bvh

    kind = Path(file.name.removesuffix(".gz")).suffix.lower()
    if kind == ".bvh":
        if scale is None:
            raise RecipeError("--scale is missing: say the metres in one unit of the .bvh file (0.01 for centimetres)")
        return read_bvh(file, scale=scale)
    if kind == ".amc":
        if skeleton is None:
            raise RecipeError("--skeleton is missing: give the .asf file that belongs to the .amc file")
        return read_amc(file, skeleton, rate=120.0 if frames is None else frames)
    if kind == ".npy":
        if frames is None:
            raise RecipeError("--frames is missing: say the frames per second of the .npy file (20 for HumanML3D)")
        try:
            positions = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReadError(f"{file}: not a readable .npy file ({error}); save the array with np.save") from None
        return clip_from_positions(positions, frames, order=HUMANML3D, up="y")
    raise RecipeError(f"{file}: is no .bvh, .amc or .npy file")


@group.command("plot")
def plot_command(
    real: Annotated[Path, typer.Option("--real", help="A manifest of recordings with labels.")],
    out: Annotated[Path, typer.Option("--out", help="The picture (.png, .svg, .pdf).")],
    place: Places = None,
    seed: Seed = 0,
    split: Annotated[str, typer.Option("--split", help="Rows of this split; 'all' for every row.")] = "train",
    each: Annotated[int, typer.Option("--each", help="Recordings of an activity, at most.")] = 20,
) -> None:
    """Draw simulated beside real: a trace of each activity, and the spectra of all, on the same axes.

    Example:

      modalign data simulate plot --real motionsense.csv --place 'right pocket' --place 'left pocket' --out beside.png
    """
    from modalign.align.manifest import read_manifest
    from modalign.cli._common import bar
    from modalign.datasets.simulate.manifest import simulated_row
    from modalign.datasets.simulate.motion import ACTIVITIES
    from modalign.datasets.simulate.plot import plot_beside
    from modalign.modalities.registry import get_modality

    motion = get_modality("motion")
    rows = read_manifest(real, {"motion": motion}).split(split).rows
    found: dict[str, list[Signal]] = {}
    for row in rows:
        signals = found.setdefault(row.labels[0], []) if row.labels else None
        if signals is not None and len(signals) < each and "motion" in row.sources:
            signals.append(motion.load(row.sources["motion"], **row.fields.get("motion", {})))
    activities = {label: ALSO.get(label, label) for label in found}
    known = [label for label, activity in activities.items() if activity in ACTIVITIES]
    made: dict[str, list[Signal]] = {}
    with bar("simulating", each * len(known)) as advance:
        for label in known:
            for number in range(each):
                one = simulated_row(seed, number, activities=[activities[label]], places=place or ["right pocket"])
                made.setdefault(label, []).append(one.signal)
                advance(1)
    print(f"Wrote {plot_beside({label: found[label] for label in known}, made, out)}")
