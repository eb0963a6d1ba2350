"""Bulk downloads with one zip per person, field and visit, read in place or unpacked.

``<person>_<field>_<instance>_<array>.zip``, or a folder of that name without the suffix, anywhere
below the data set's folder. There are tens of thousands: a zip's directory is read once in a
process, and a folder is asked for the few files that count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar

from bench.dataset import LITTER, Case, Dataset, Recipe, natural
from bench.errors import BenchError
from bench.source import Source
from bench.volumes import zipped

NAME = re.compile(
    r"(?P<person>\d+)_(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)(?P<zip>\.zip)?", re.ASCII
)
DEPTH = 6  # levels below the data set's folder, e.g. Bulk/Brain MRI/T1/10/<zip>
THREADS = 8  # zips opened at once: on a network file system each waits for its server
Visited = tuple[list[Case], list[tuple[str, str]], list[tuple[str, str]]]


class Visits(Dataset):
    """A case is a visit that has the file of every channel, whether or not it has a label."""

    files: ClassVar[tuple[tuple[str, str], ...]]  # (field, file in its zip) of each channel
    # in the first channel's zip; the first that is there is the label
    masks: ClassVar[tuple[str, ...]]
    # folder beside a file that failed quality control, in place of the file
    unusable: ClassVar[str]

    def cases(self, root: Path) -> list[Case]:
        """Return the complete visits by person, instance and array.

        A zip that cannot be opened is a case all the same: reading it says what is wrong.
        """
        cases, absent, skipped = self._judged(Path(root))
        if cases or absent:
            return cases
        if skipped:
            why = f"no complete visit among {len(skipped)}, first {skipped[0][0]}: {skipped[0][1]}"
        else:
            why = f"no files <person>_{self.files[0][0]}_<instance>_<array>.zip"
        raise BenchError(f"{root}: {why}; {self.unpack}")

    def missing(self, root: Path, cases: Sequence[Case] | None = None) -> list[tuple[str, str]]:
        """Return images that a visit's download should hold and does not."""
        return self._judged(Path(root))[1]

    def skipped(self, root: Path) -> list[tuple[str, str]]:
        """Return (visit, why) of visits that are no case through no fault of this copy."""
        return self._judged(Path(root))[2]

    def _judged(self, root: Path) -> Visited:
        first = self.files[0][0]
        visits = {id: v for id, v in _visits(root, dict(self.files)).items() if first in v}
        wanted = frozenset(self.masks) | {
            f for _, file in self.files for f in (file, self._refused(file))
        }
        images = frozenset(file for _, file in self.files)
        places = [folder for visit in visits.values() for folder in visit.values()]
        with ThreadPoolExecutor(THREADS) as pool:
            contents = pool.map(lambda folder: _held(folder, wanted, images), places)
            held = dict(zip(places, contents, strict=True))
        cases, absent, skipped = [], list[tuple[str, str]](), list[tuple[str, str]]()
        for id in sorted(visits, key=natural):
            gone, why = self._lacking(visits[id], held)
            if why:
                skipped.append((id, "; ".join(why)))
            elif gone:
                absent += [(id, str(path)) for path in gone]
            else:
                cases.append(self._case(id, visits[id], held[visits[id][first]]))
        return cases, absent, skipped

    def _lacking(
        self, visit: dict[str, Path], held: dict[Path, frozenset[str]]
    ) -> tuple[list[Path], list[str]]:
        """Return the files that should be there, and why others need not be."""
        gone, why = [], []
        for field, file in self.files:
            if field not in visit:
                why.append(f"no field {field}")
            elif file in held[visit[field]]:
                continue
            elif self._refused(file) in held[visit[field]]:
                why.append(f"{self._refused(file)} in place of {file}")
            else:
                gone.append(visit[field] / file)
        return gone, why

    def _refused(self, file: str) -> str:
        return f"{file.rpartition('/')[0]}/{self.unusable}/"

    def _case(self, id: str, visit: dict[str, Path], held: frozenset[str]) -> Case:
        folder = visit[self.files[0][0]]
        label = next((folder / mask for mask in self.masks if mask in held), None)
        person, instance, array = id.split("_")
        images = tuple(visit[field] / file for field, file in self.files)
        return Case(id, person, images, label, {"instance": instance, "array": array})


def _visits(root: Path, fields: Container[str]) -> dict[str, dict[str, Path]]:
    """Return person_instance_array -> field -> zip or folder."""
    visits: dict[str, dict[str, Path]] = {}
    for match, path in _walk(root, DEPTH) if root.is_dir() else ():
        if match["field"] in fields:
            id = f"{match['person']}_{match['instance']}_{match['array']}"
            twin = visits.setdefault(id, {}).setdefault(match["field"], path)
            if twin != path:
                first, second = sorted((str(twin), str(path)))
                raise BenchError(
                    f"{second}: {first} holds the same visit; keep either the zip or the unpacked folder"
                )
    return visits


def _walk(folder: Path, depth: int) -> Iterator[tuple[re.Match[str], Path]]:
    """Yield the visits below a folder; what lies within an unpacked one is not walked through."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise BenchError(
            f"{folder}: cannot be listed ({error.strerror}); correct its permissions"
        ) from None
    for entry in entries:
        match = NAME.fullmatch(entry.name)
        if match and (match["zip"] or entry.is_dir()):
            yield match, folder / entry.name
        elif depth > 1 and not LITTER.match(entry.name) and entry.is_dir():
            yield from _walk(folder / entry.name, depth - 1)


def _held(place: Path, wanted: frozenset[str], images: frozenset[str]) -> frozenset[str]:
    """Return which of some files, and folders that end in ``/``, a visit's zip or folder holds.

    Of a zip that cannot be opened it is the images: whoever reads them will see.
    """
    if place.is_dir():
        return frozenset(name for name in wanted if (place / name).exists())
    try:
        stat = place.stat()
        return _in_zip(place, wanted, (stat.st_size, stat.st_mtime_ns))
    except (OSError, BenchError):  # it must not hide all others
        return images


@cache
def _in_zip(archive: Path, wanted: frozenset[str], _stamp: tuple[int, int]) -> frozenset[str]:
    names = zipped.names(archive)
    return wanted & (names.keys() | {name.rpartition("/")[0] + "/" for name in names})


class BrainVisits(Visits):
    """Visits of UK Biobank's brain imaging, brains extracted, 208 x 256 x 256 at 1 mm on the grid of T1.

    The label is FSL FAST's tissue map, the hard one that Taleb et al. pretrained with supervision on
    (``T1_brain_seg``), or where a zip lacks it the one from partial volumes (``T1_brain_pveseg``). Of
    instances (2: first imaging visit, 3: repeat) and arrays of one participant each is a case of its own,
    ``meta`` says which. Visits that hold ``unusable/`` in place of the image are left out and counted.
    Participants who withdrew are not known here: remove their files.
    """

    source = Source(
        "Sudlow et al. 2015, PLoS Medicine 12(3):e1001779; Miller et al. 2016, Nature Neuroscience "
        "19(11):1523-1536; Alfaro-Almagro et al. 2018, NeuroImage 166:400-424; Littlejohns et al. 2020, "
        "Nature Communications 11:2624",
        "https://www.ukbiobank.ac.uk",
    )
    licence = "approved application and fee; never passed on"
    redistribution = False
    modality = "MR"
    labels = {1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}  # noqa: RUF012
    recipes = {  # noqa: RUF012
        "default": Recipe(scale="zscore", nonzero=True, foreground="nonzero"),  # all scans are 1 mm
        # HealthML/self-supervised-3d-tasks: box of the brain (about 160 x 192 x 192), min-max of each
        # channel, 128^3
        "taleb": Recipe(resize=(128, 128, 128), scale="minmax", foreground="nonzero"),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore", nonzero=True),  # ours: a pilot
    }
    masks = ("T1/T1_fast/T1_brain_seg.nii.gz", "T1/T1_fast/T1_brain_pveseg.nii.gz")
    unusable = "unusable"
    # of unpacked visits; what lies in a zip is asked for by name
    unread = (
        "T1/*",
        "T1_fast/*",
        "T1_first/*",
        "transforms/*",
        "unusable/*",
        "T2_FLAIR/*",
        "lesions/*",
    )

    def person(self, case: Case) -> str:
        """Return the participant, whose number is the same in all fields of an application."""
        return f"ukb:{case.patient}"
