"""Which patient a case is of, as a person states it: a pattern, or a file that maps cases to patients."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, shown
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
        raise BenchError(f"--patients {path}: is no JSON object that maps cases to patients")
    return value


def patients_of(cases: Sequence[str], stated: str | Mapping[str, str]) -> list[str]:
    """Return the patient of each case.

    Args:
        cases: their names.
        stated: a regular expression that matches from the beginning of a name, whose group ``patient`` or
            only group is the patient; or case -> patient.

    Raises:
        BenchError: the pattern is none, or a case has no patient by it.
    """
    if isinstance(stated, str):
        pattern = _pattern(stated)
        group: str | int = "patient" if "patient" in pattern.groupindex else 1
        matches = [pattern.match(case) for case in cases]
        named = [match[group] if match else "" for match in matches]
    else:
        named = [stated.get(case, "") for case in cases]
    for case, patient in zip(cases, named, strict=True):
        if not patient:
            what = stated if isinstance(stated, str) else "the map"
            raise BenchError(
                f"--patients {what}: gives no patient for case {shown(case)}; correct it"
            )
    return named


def _pattern(stated: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(stated)
    except re.error as error:
        raise BenchError(f"--patients {stated}: is no regular expression ({error})") from None
    if pattern.groups != 1 and "patient" not in pattern.groupindex:
        raise BenchError(
            f"--patients {stated}: put the part that names the patient in round brackets, once: '(.+)_scan.*'"
        )
    return pattern
