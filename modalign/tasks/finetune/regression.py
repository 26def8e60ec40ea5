"""Figures of numbers, in the column's own units, and an evaluation of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalign.align.manifest import Row
from modalign.align.metrics import cluster_bootstrap
from modalign.tasks.evaluation import Evaluation, Result, predictions_file, unit_of_resampling
from modalign.tasks.figures import order
from modalign.tasks.probe.runs import r_squared
from modalign.tasks.results import Table

Array = NDArray[Any]
DRAWS = 300
HEAD = ["method", "MAE", "95 % interval", "RMSE", "R2", "Spearman", "95 % interval"]


def regression_figures(truth: Array, said: Array) -> dict[str, float]:
    """MAE and RMSE in the unit of the numbers, R2, and Spearman's rank correlation; NaN where not defined.

    Example:
        >>> regression_figures(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0]))
        {'MAE': 1.0, 'RMSE': 1.7320508075688772, 'R2': -3.5, 'Spearman': 1.0}
    """
    from scipy.stats import rankdata

    error = said - truth
    ranks = [rankdata(values) for values in (truth, said)]
    vary = all(r.std() > 0 for r in ranks)
    return {
        "MAE": float(np.abs(error).mean()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "R2": r_squared(truth, said),
        "Spearman": float(np.corrcoef(*ranks)[0, 1]) if vary else float("nan"),
    }


def number_result(name: str, truth: Array, said: Array, rows: Sequence[Row], note: str = "") -> Result:
    """R2 with its interval over groups; the scores are the numbers said (N, 1)."""
    units, _ = unit_of_resampling(rows)
    interval = cluster_bootstrap(lambda index: r_squared(truth[index], said[index]), units)
    return Result(name, r_squared(truth, said), interval, said[:, None], note)


@dataclass
class RegressionEvaluation(Evaluation):
    """An `Evaluation` of numbers: R2 is the main figure, all others are in a table.

    Attributes:
        column: of the manifest.
        numbers: (N,) the truth.
    """

    column: str = ""
    numbers: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    def add_figures(self) -> None:
        """Put the table of all figures of all methods first."""
        units, name = unit_of_resampling(self.rows)
        rows: list[list[str | float]] = []
        for result in (r for r in self.results if r.scores is not None):
            assert result.scores is not None
            said = result.scores[:, 0]
            found = regression_figures(self.numbers, said)
            between = {
                figure: cluster_bootstrap(
                    lambda index, s=said, f=figure: regression_figures(self.numbers[index], s[index])[f],  # type: ignore[misc]
                    units,
                    DRAWS,
                )
                for figure in ("MAE", "Spearman")
            }
            cells = [
                _short(found["MAE"]), _span(between["MAE"]), _short(found["RMSE"]), _short(found["R2"]),
                _short(found["Spearman"]), _span(between["Spearman"]),
            ]  # fmt: skip
            rows.append([result.name, *cells])
        spread = f"{self.column}: mean {self.numbers.mean():.4g}, standard deviation {self.numbers.std():.4g} here."
        note = f"MAE and RMSE in the units of {self.column!r}; 95 % intervals over {name}. {spread}"
        self.tables.insert(0, Table("Figures", HEAD, rows, note))

    def add_subgroups(self) -> None:
        """A table for each of `subgroups`: MAE with its interval, and R2, of the main result."""
        assert self.main.scores is not None
        said = self.main.scores[:, 0]
        units, _ = unit_of_resampling(self.rows)
        for column, values in self.subgroups.items():
            rows: list[list[str | float]] = []
            for name in sorted(set(values), key=order):
                own = np.array([i for i, value in enumerate(values) if value == name])
                truth, guess = self.numbers[own], said[own]
                error = np.abs(guess - truth)
                low, high = cluster_bootstrap(
                    lambda index, e=error: float(e[index].mean()),  # type: ignore[misc]
                    [units[i] for i in own],
                )
                figures = (float(error.mean()), _span((low, high)), r_squared(truth, guess))
                rows.append([name, len(own), float(truth.mean()), *figures])
            head = [column, "rows", f"mean {self.column}", "MAE", "95 % interval", "R2"]
            note = "R2 is against the subgroup's own mean: a narrow subgroup has a low one where its errors are small."
            self.tables.append(Table(f"By {column}", head, rows, note))

    def numbers_of(self, result: Result) -> pd.DataFrame:
        """A row for each item: id, group, cluster, the truth, and what the method said."""
        assert result.scores is not None
        kinds = ("id", "group", "cluster")
        about = {kind: [getattr(row, kind) for row in self.rows] for kind in kinds}
        return pd.DataFrame({**about, "truth": self.numbers, "predicted": result.scores[:, 0]})

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json`, `predictions.parquet` (the main result's), and `predictions-NAME.parquet` of others."""
        import json

        folder.mkdir(parents=True, exist_ok=True)
        for result in self.results:
            if result.scores is not None:
                name = predictions_file(result.name if result is not self.main else "")
                self.numbers_of(result).to_parquet(folder / name, index=False)
        said = {**self.as_dict(), "column": self.column, **(extra or {})}
        (folder / "metrics.json").write_text(json.dumps(said, indent=1))


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"


def _span(interval: tuple[float, float]) -> str:
    return "" if np.isnan(interval[0]) else f"{interval[0]:.3g} to {interval[1]:.3g}"
