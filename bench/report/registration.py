"""What a protocol said before its first cell was scored, and what of it changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from bench.errors import first_of
from bench.protocol import Protocol
from bench.report.supplement import Registered

# what no number depends on
TEXTS = ("title", "about", "notes", "deviations", "assumed", "expected", "cost", "layout")
SHOWN = 12  # keys of a change that are named


def sentences(protocol: Protocol, registered: Sequence[Registered]) -> Iterator[str]:
    """Yield what was registered, and each change since: also one that was never run."""
    if not registered:
        yield "Not registered: its records do not say which protocol stood before the first cell was scored."
    for number, entry in enumerate(registered):
        at = f"protocol {entry.content} at scale {entry.scale}"
        at += f" with --set {' '.join(entry.overrides)}" if entry.overrides else ""
        progress = f"when {entry.scored} of {entry.cells} cells had scores"
        if number == 0 and not entry.scored:
            yield f"Registered before the first cell was scored: {at}, {entry.time}."
        elif number == 0:
            yield f"Not registered before the first cell was scored: {at}, {entry.time}, {progress}."
        else:
            what = _changed(registered[number - 1].parts, entry.parts)
            yield f"Changed to {at}, {entry.time}, {progress}{what}."
    content = protocol.origin.content
    if registered and content and content != registered[-1].content:
        what = _changed(registered[-1].parts, parts(protocol))
        yield f"This page is drawn from a later text, protocol {content}, that was not registered{what}."


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return what of a protocol changed, where both notes of it say what it was."""
    if not before or not after:
        return ""
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    weighty = [key for key in keys if key not in TEXTS]
    if not weighty:
        return "; only texts changed" if keys else "; nothing that this scale uses changed"
    by = {
        "new": [key for key in weighty if key not in before],
        "gone": [key for key in weighty if key not in after],
        "changed": [key for key in weighty if key in before and key in after],
    }
    listed = [f"{how}: {first_of(names, SHOWN)}" for how, names in by.items() if names]
    return "; ".join(["", *listed, *["texts changed"] * (len(keys) > len(weighty))])


def parts(protocol: Protocol) -> dict[str, str]:
    """Return a digest of what each key says at this scale: of each row and each section one of its own."""
    stated = dict(protocol.document.value) if protocol.document else {}
    for key in ("scales", "detects"):  # the scale that is run is in all other keys; a forecast
        stated.pop(key, None)
    layout = stated.get("layout")
    judged = layout.get("metric") if isinstance(layout, dict) else None
    values = {"layout.metric": judged} if judged else {}  # which one is compared
    for key, value in stated.items():
        named = dict(zip(protocol.sections, value, strict=False)) if key == "finetune" else value
        if isinstance(named, dict) and all(isinstance(of, dict) for of in named.values()):
            values |= {f"{key}.{name}": _untitled(of) for name, of in named.items()}
        else:
            values[key] = value
    texts = {key: json.dumps(of, sort_keys=True) for key, of in values.items()}
    return {key: sha256(text.encode()).hexdigest()[:8] for key, text in texts.items()}


def _untitled(value: Mapping[str, object]) -> dict[str, object]:
    return {key: of for key, of in value.items() if key != "title"}
