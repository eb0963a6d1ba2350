"""UK Biobank photographs of the back of the eye: fields 21015 (left) and 21016 (right), unlabelled."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import Photographs, by_name
from bench.dataset import Case
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import is_picture

NAME = re.compile(r"(?P<case>[0-9]{7}_(21015|21016)_[0-9]{1,2}_[0-9]{1,2})")
EYES = {"21015": "left", "21016": "right"}
BULK = "Bulk/Retinal Optical Coherence Tomography"
ILL = 5  # every fifth person of the phantoms has retinopathy
PATIENTS = 15000  # number of the first phantom: no other data set shows the same eyes


class UKBFundus(Photographs):
    """About 170 000 photographs, two eyes and up to two visits a person, all of one ``patient``.

    Photographs that no program can read, or that show nothing, are common. ``bench check`` lists
    the former; move them away, or name them in a protocol under ``exclude``.
    """

    source = Source(
        "Sudlow et al. 2015, UK Biobank: An Open Access Resource for Identifying the Causes of a Wide "
        "Range of Complex Diseases of Middle and Old Age, PLoS Medicine 12(3):e1001779",
        "https://biobank.ndph.ox.ac.uk/showcase/field.cgi?id=21015",
    )
    title = "UK Biobank fundus photographs"
    licence = "approved application to UK Biobank; may not be passed on"
    labels = {}
    overlaps = {
        "ukb_brain": "the same participants; their numbers agree within one application",
        "ukb_brain_flair": "the same participants; their numbers agree within one application",
    }
    unpack = (
        "get fields 21015 and 21016 by an approved application to UK Biobank and link or unpack them so "
        "that ukb_fundus/ holds <eid>_21015_<instance>_<array>.png and <eid>_21016_..., flat or in the "
        "platform's folders 'Fundus (left)/<two digits>'"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every photograph, none labelled."""
        found = by_name(root, NAME, depth=6, readable=is_picture)
        if not found:
            raise BenchError(f"{root}: no <eid>_21015_<instance>_<array>.png; {self.unpack}")
        cases = []
        for id, files in found.items():
            eid, field, instance, array = id.split("_")
            meta = {"eye": EYES[field], "instance": instance, "array": array}
            cases.append(Case(id, eid, (*files.values(),), None, meta))
        return cases

    def person(self, case: Case) -> str:
        """Return the participant, whose number is the same in all fields of an application."""
        return f"ukb:{case.patient}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write synthetic photographs in the platform's folders: left and right eyes, some visits twice."""
        from bench.phantoms.fundus import fundus, write_picture

        for i in range(cases):
            field, eye = list(EYES.items())[i % 2]
            person, visit = i // 2, 0
            if person % 4 == 3:  # the second visit of the person before
                person, visit = person - 1, 1
            eid = str(1000000 + 41 * person)
            grade = 2 if person % ILL == ILL - 1 else 0
            photograph = fundus((128, 96), seed, PATIENTS + i, grade=grade, left=eye == "left")
            path = root / BULK / f"Fundus ({eye})" / eid[:2] / f"{eid}_{field}_{visit}_0.png"
            write_picture(path, photograph.image)
