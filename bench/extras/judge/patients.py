"""Which patient a case is of, as a person states it: a pattern, or a file that maps cases to patients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bench.errors import BenchError
from bench.extras.judge.tables import read_csv, text_of


def stated(text: str) -> str | Mapping[str, str]:
    """Return a pattern as it is, a file as its map.

    Raises:
        BenchError: the file is neither a CSV file of two columns nor an object of JSON.
    """
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".tsv", ".json"):
        return text
    if not path.is_file():
        raise BenchError(f"--patients {text}: is not there")
    if path.suffix.lower() == ".json":
        return _of_json(path)
    table = read_csv(path)
    if len(table.columns) != 2:
        raise BenchError(
            f"--patients {path}: has {len(table.columns)} columns; two are needed, case and patient"
        )
    case, patient = (table.texts(column) for column in table.columns)
    return dict(zip(case, patient, strict=True))


def _of_json(path: Path) -> Mapping[str, str]:
    try:
        value = json.loads(text_of(path))
    except ValueError as error:
        raise BenchError(f"--patients {path}: is no JSON ({error})") from None
    if not isinstance(value, dict) or not all(isinstance(v, str) and v for v in value.values()):
        raise BenchError(f"--patients {path}: is no object of cases and patients")
    return value
