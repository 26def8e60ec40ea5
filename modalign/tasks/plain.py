"""A manifest's table, as a .csv can hold it."""

from __future__ import annotations

import pandas as pd

from modalign.align.manifest import Manifest
from modalign.errors import ManifestError


def plain_table(manifest: Manifest) -> pd.DataFrame:
    """A copy of the table with empty cells as "".

    Raises:
        ManifestError: a cell holds a list, for which a .csv has no place.
    """
    table = manifest.table.copy()
    for column in table.columns:
        lists = [i for i, cell in enumerate(table[column]) if not isinstance(cell, str) and hasattr(cell, "__len__")]
        if lists:
            raise ManifestError(
                f"{manifest.path}: {column!r} of {manifest.rows[lists[0]].id!r} is a list, and the manifest to write "
                "is a .csv; join the list to one text first"
            )
    return table.astype(object).where(table.notna(), "")
