"""Fine-tuning settings that several protocols share: ``settings: FILE``, in a section or for a row.

The file holds keys of a ``finetune`` section, and may itself build on another; what stands beside
``settings`` wins over it. For a row, or a scale, the file replaces the section's whole way of training,
so that nothing of another recipe shines through; its data, split and fractions stay the section's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.document import Document, overlay, parse
from bench.errors import BenchError, shown
from bench.protocol.sections import Finetune, one_of_each
from bench.typed import plain
from bench.volumes.files import is_there

OWN = (  # of a section
    "name",
    "title",
    "dataset",
    "split",
    "fractions",
    "seeds",
    "draws",
    "folds",
    "where",
    "exclude",
    "submit",
    "regions",
    "anchor",
    "pretrain",
)
# a row's settings leave these to the section, unless they state them
KEPT = (*OWN, "recipe", "track")
STAND_IN = {"dataset": "any", "split": "any"}


def spelled_out(document: Document) -> Document:
    """Return a protocol whose every ``settings: FILE`` is replaced by what the file holds.

    Raises:
        BenchError: a file that is not there, or that holds no settings; names file, line and key.
    """
    value = _parts(document.value, document, ())
    if isinstance(scales := value.get("scales"), dict):
        value["scales"] = {
            name: _parts(over, document, ("scales", name)) for name, over in scales.items()
        }
    return Document(document.path, value, document.lines)


def _parts(value: Any, document: Document, keys: tuple[str, ...]) -> Any:
    """Return a protocol, or what a scale lays over it, with its sections and rows spelled out."""
    if not isinstance(value, dict):
        return value
    section, at = dict(value), (*keys, "finetune")
    if isinstance(sections := section.get("finetune"), list):
        section["finetune"] = [_section(s, document, (*at, str(i))) for i, s in enumerate(sections)]
    elif keys:  # a scale's mapping lies over every section, as a row's does
        section["finetune"] = instead(sections, document, at)
    if isinstance(rows := section.get("rows"), dict):
        section["rows"] = {
            name: _row(row, document, (*keys, "rows", name)) for name, row in rows.items()
        }
    return {k: v for k, v in section.items() if k in value}


def _section(section: Any, document: Document, keys: tuple[str, ...]) -> Any:
    if not isinstance(section, dict) or "settings" not in section:
        return section
    return overlay(_read(section["settings"], document, keys), one_of_each(section, draws=False))


def _row(row: Any, document: Document, keys: tuple[str, ...]) -> Any:
    if not isinstance(row, dict) or "finetune" not in row:
        return row
    return {**row, "finetune": instead(row["finetune"], document, (*keys, "finetune"))}


def instead(stated_own: Any, document: Document, keys: tuple[str, ...]) -> Any:
    """Return an override whose settings leave nothing of the recipe that it lies over."""
    if not isinstance(stated_own, dict) or "settings" not in stated_own:
        return stated_own
    stated = _read(stated_own["settings"], document, keys)
    complete_section = plain(document.build(Finetune, {**STAND_IN, **stated}))
    complete = {k: v for k, v in complete_section.items() if k not in KEPT or k in stated}
    return overlay(complete, one_of_each(stated_own, draws=False))


def _read(
    name: Any, document: Document, keys: tuple[str, ...], above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    where = document.where((*keys, "settings"))
    if not isinstance(name, str) or not name:
        raise BenchError(f"{where}: expected the path of a file, got {shown(name)}")
    path = document.path.parent / name
    if not is_there(path):
        raise BenchError(
            f"{where}: {path} is no file; name it from the folder of {document.path.name}"
        )
    if path.resolve() in above:
        raise BenchError(f"{where}: {path} includes itself; remove this entry")
    shared = parse(path)
    for key in OWN:
        if key in shared.value:
            raise BenchError(
                f"{shared.where((key,))}: belongs in the protocol, not in shared settings"
            )
    value = shared.value
    if "settings" in value:
        below = _read(value["settings"], shared, (), (*above, path.resolve()))
        value = overlay(
            below, one_of_each({k: v for k, v in value.items() if k != "settings"}, draws=False)
        )
    shared.build(Finetune, {**STAND_IN, **value})  # a mistake is told at its own line
    return value
