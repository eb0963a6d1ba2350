"""The ``dataset.json`` that a folder in MSD layout lacks: what its files say, and what a person is asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.atomic import write_atomic
from bench.data.layout_msd import CHANNEL, MSDLayout
from bench.dataset import Case
from bench.errors import BenchError
from bench.volumes.files import stem
from bench.volumes.header import VolumeError
from bench.volumes.reading import read_label, read_volume

LOOKED_AT = 5  # scans that tell the number of channels
AIR = -500  # HU; where voxels are below it, a scan is CT
Ask = Callable[[str, str], str]  # a question and what is taken without an answer


class Unlisted(MSDLayout):
    """A folder of imagesTr and labelsTr without dataset.json."""

    title = "cases without dataset.json"


def write_missing(
    root: Path, labels: Mapping[int, str], channels: Sequence[str], ask: Ask, workers: int
) -> str:
    """Write ``dataset.json`` and return it in words.

    Args:
        root: the folder that holds imagesTr.
        labels: name by value; those that occur and are not here are asked.
        channels: their names; none: asked.
        ask: answers, or returns what is taken without an answer.
        workers: label maps that are read at once.

    Raises:
        BenchError: no label map can be read, or a name is given to what does not occur.
    """
    cases = Unlisted().cases(root)
    found = _values(cases, workers)
    strange = sorted({*labels} - {*found})
    if strange:
        there = ", ".join(map(str, sorted(found)))
        raise BenchError(
            f"--labels: value {strange[0]} is in no label map of {root}; there are {there}"
        )
    names = {
        value: labels.get(value)
        or ask(f"name of label {value}, in {n} label maps", f"label_{value}")
        for value, n in sorted(found.items())
    }
    if len({*names.values(), "background"}) <= len(names):
        raise BenchError(
            f"--labels: {', '.join(names.values())}: each label needs a name of its own, and 0 is background"
        )
    told = channels or _channels(cases, ask)
    first = cases[0].images[0]
    channel_names = {str(i): name for i, name in enumerate(told)}
    listing: dict[str, Any] = {"name": root.name}
    if len(cases[0].images) > 1 or CHANNEL.search(stem(first)):  # named as nnU-Net wants them
        listing |= {
            "channel_names": channel_names,
            "labels": {"background": 0, **{name: value for value, name in names.items()}},
            "numTraining": sum(case.label is not None for case in cases),
            "file_ending": first.name.removeprefix(stem(first)),
        }
    else:
        by_value = {str(value): name for value, name in names.items()}
        listing |= {"modality": channel_names, "labels": {"0": "background", **by_value}}
    path = root / "dataset.json"
    try:
        write_atomic(path, json.dumps(listing, indent=1) + "\n")
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be written ({error.strerror}); correct this and run again"
        ) from None
    return ", ".join([*told, *(f"{value} {name}" for value, name in names.items())])


def _values(cases: Sequence[Case], workers: int) -> Counter[int]:
    """Return in how many label maps each value but 0 occurs."""

    def one(case: Case) -> list[int]:
        try:
            return [int(v) for v in np.unique(read_label(Path(str(case.label))).array) if v]
        except VolumeError:  # a check says so
            return []

    labelled = [case for case in cases if isinstance(case.label, Path)]
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        found = Counter(value for values in pool.map(one, labelled) for value in values)
    if not found:
        where = labelled[0].label if labelled else "labelsTr"
        raise BenchError(
            f"{where}: no label map with a label can be read; labelsTr must hold one for each case"
        )
    return found


def _channels(cases: Sequence[Case], ask: Ask) -> list[str]:
    """Ask for the channels, as many as most of the first scans have: one of them may be a wrong file."""
    scans = list[tuple[int, bool]]()  # channels; is it CT?
    for case in cases[:LOOKED_AT]:
        try:
            image = read_volume(case.images[0])
        except VolumeError:  # a check says so
            continue
        scans.append((max(len(case.images), image.array.shape[0]), bool(image.array.min() < AIR)))
    if not scans:
        read_volume(cases[0].images[0])  # says what is wrong with it
    n, is_ct = Counter(scans).most_common(1)[0][0]
    guess = "CT" if is_ct else "MR"
    return [
        ask(
            f"channel {i} (CT is windowed in HU, all else scaled)",
            guess if n == 1 else f"{guess}{i}",
        )
        for i in range(n)
    ]
