"""PTB-XL: 21,799 ECGs of 10 s with cardiologists' reports and SCP statements; official folds that respect patients.

Source: Wagner et al. 2020, doi:10.1038/s41597-020-0495-6; physionet.org/content/ptb-xl (CC BY 4.0).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from modalign.datasets.manifest import choice, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

SUPER = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST/T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}
SUB = {
    "NORM": "normal ECG",
    "AMI": "anterior myocardial infarction",
    "IMI": "inferior myocardial infarction",
    "LMI": "lateral myocardial infarction",
    "PMI": "posterior myocardial infarction",
    "STTC": "ST-T changes",
    "NST_": "non-specific ST changes",
    "ISC_": "non-specific ischemia",
    "ISCA": "ischemia in anterior leads",
    "ISCI": "ischemia in inferior leads",
    "LVH": "left ventricular hypertrophy",
    "RVH": "right ventricular hypertrophy",
    "SEHYP": "septal hypertrophy",
    "LAO/LAE": "left atrial enlargement",
    "RAO/RAE": "right atrial enlargement",
    "LAFB/LPFB": "left anterior or posterior fascicular block",
    "IRBBB": "incomplete right bundle branch block",
    "CRBBB": "complete right bundle branch block",
    "ILBBB": "incomplete left bundle branch block",
    "CLBBB": "complete left bundle branch block",
    "IVCD": "non-specific intraventricular conduction disturbance",
    "WPW": "Wolff-Parkinson-White syndrome",
    "_AVB": "AV block",
}
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
TASKS = ("super", "sub", "form", "rhythm", "all")


def fold_split(fold: int) -> str:
    """The official use of the ten folds: 1 to 8 train, 9 val, 10 test."""
    return "train" if fold <= 8 else "val" if fold == 9 else "test"


ABOUT = ("sex", "age", "site", "device")
"""Columns of the table that the manifest keeps, for figures by subgroup."""
SEX = {0: "male", 1: "female"}


def said_of(record: Mapping[Any, Any], column: str) -> str:
    """What the table says of a person or a device, as a manifest's cell; empty where it says nothing.

    Ages over 89 become 90; the table mostly has them as 300.
    """
    value = record[column]
    if pd.isna(value) or column not in ("age", "sex", "site"):
        return "" if pd.isna(value) else " ".join(str(value).split())
    number = int(float(value))
    if column == "sex":
        return SEX.get(number, "")
    return str(min(number, 90) if column == "age" else number)


def labels_of(codes: dict[str, float], statements: pd.DataFrame, task: str) -> list[str]:
    """The labels of a record's SCP codes; likelihoods are left aside, as in the official aggregation."""
    known = [code for code in codes if code in statements.index]
    if task in ("super", "sub"):
        column, names = ("diagnostic_class", SUPER) if task == "super" else ("diagnostic_subclass", SUB)
        parts = [str(statements.at[code, column]) for code in known if statements.at[code, "diagnostic"] == 1]
        order = list(names)
        found = sorted(set(parts), key=lambda part: order.index(part) if part in order else len(order))
        return [names.get(part, part) for part in found]
    kept = known if task == "all" else [code for code in known if statements.at[code, task] == 1]
    return [str(statements.at[code, "description"]).replace(";", ",") for code in kept]


def prepare(root: Path, out: Path, *, task: str = "super", rate: str = "100", text: str = "scp") -> Path:
    """Write the manifest; see the registered options.

    Raises:
        ReadError: a table is absent or is not PTB-XL's, or no record is there.
        RecipeError: an option has a value that is not known.
    """
    task, rate = choice("task", task, TASKS), choice("rate", rate, ("100", "500"))
    text = choice("text", text, ("scp", "report", "none"))
    table, statements = _tables(root)
    column = "filename_lr" if rate == "100" else "filename_hr"
    rows: list[dict[str, Any]] = []
    absent = 0
    for record in table.to_dict("records"):
        path = f"{record[column]}.hea"
        if not (root / path).is_file():
            absent += 1
            continue
        codes = _codes(record, root)
        row = {
            "id": f"ptbxl-{int(record['ecg_id']):05d}",
            "split": fold_split(int(record["strat_fold"])),
            "group": f"patient-{int(float(record['patient_id']))}",
            "labels": ";".join(labels_of(codes, statements, task)),
            "ecg": path,
            "fold": int(record["strat_fold"]),
            **{column: said_of(record, column) for column in ABOUT if column in table},
        }
        if text != "none":
            said = labels_of(codes, statements, "all")
            row["text"] = "; ".join(said) if text == "scp" else " ".join(str(record["report"]).split())
        rows.append(row)
    about = f"PTB-XL (Wagner et al. 2020, CC BY 4.0), {task} labels, {rate} Hz, folds 1-8 / 9 / 10, text: {text}"
    if absent:
        about += f"; {absent} records of the table have no file under the root and are left out"
    return write_manifest(rows, out, root, about, "ecg")


def _tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = []
    for name, needed in {
        "ptbxl_database.csv": (
            "ecg_id",
            "patient_id",
            "report",
            "scp_codes",
            "strat_fold",
            "filename_lr",
            "filename_hr",
        ),
        "scp_statements.csv": (
            "description",
            "diagnostic",
            "form",
            "rhythm",
            "diagnostic_class",
            "diagnostic_subclass",
        ),
    }.items():
        path = root / name
        if not path.is_file():
            raise ReadError(
                f"{path}: no such file; give the folder that holds ptbxl_database.csv and scp_statements.csv"
            )
        try:
            table = pd.read_csv(path, index_col=None if name.startswith("ptbxl") else 0)
        except Exception as error:  # pandas has errors of many classes
            raise ReadError(f"{path}: not a readable CSV file ({str(error)[:120]}); copy it again") from error
        lacking = [column for column in needed if column not in table.columns]
        if lacking:
            raise ReadError(f"{path}: has no column {lacking[0]!r}, so it is not PTB-XL's; copy it again")
        tables.append(table)
    return tables[0], tables[1]


def _codes(record: dict[Any, Any], root: Path) -> dict[str, float]:
    try:
        codes = ast.literal_eval(str(record["scp_codes"]))
        return {str(code): float(likelihood) for code, likelihood in codes.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError):
        raise ReadError(
            f"{root / 'ptbxl_database.csv'}: ecg_id {record['ecg_id']}: scp_codes {record['scp_codes']!r} is no mapping"
        ) from None


def _needed(name: str, options: Mapping[str, Any]) -> bool:
    return name in TABLES or name.startswith(f"records{options.get('rate', 100)}/")


register_dataset(
    PublicDataset(
        name="ptb-xl",
        about="PTB-XL: 21,799 12-lead ECGs with reports and SCP statements (Wagner et al. 2020, CC BY 4.0)",
        prepare=prepare,
        url="https://physionet.org/content/ptb-xl/",
        sums="https://physionet.org/files/ptb-xl/1.0.3/SHA256SUMS.txt",
        needed=_needed,
        options={
            "task": "super (5 superclasses, default), sub (23), form (19), rhythm (12), all (71 statements)",
            "rate": "100 (default) or 500",
            "text": "scp: the statements in English (default; made from the codes); report: the cardiologist's, in "
            "its own language (mostly German), for a multilingual text tower; none: captions come from the labels",
        },
    )
)
