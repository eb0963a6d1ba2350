"""What a fine-tuning starts from: fresh weights, a pretraining, or a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.contents import Contents
from bench.data.split import Fold
from bench.dataset import Case
from bench.errors import BenchError, Misstated
from bench.jobs.kind import EMBEDDINGS, MAPS, Given, embedding
from bench.plan.cohorts import Target
from bench.protocol.sections import Initial
from bench.volumes.files import SUFFIXES, is_there, stem

_ABSENT = "init: {} is no file; put the weights there, or drop the row"
UNSEEN = "?"  # begins what stands for the digest of a file that is not on this machine


@dataclass(frozen=True)
class Initialisation:
    """``init`` as specs and records say it, and the pretraining where it is one."""

    init: str = "random"
    pretrain: str | None = None
    # the one fine-tuning seed that it is for, where each has a pretraining of its own
    seed: int | None = None
    given: Given = field(default_factory=Given)  # of a file


@dataclass
class WeightFiles:
    """Weight files by their content; where they lie is no part of a job's identity."""

    paths: dict[str, str] = field(default_factory=dict)  # SHA-256 -> absolute path
    _seen: dict[Path, str] = field(default_factory=dict)
    _lacking: dict[str, Path] = field(default_factory=dict)  # by what stands for the digest

    def add(self, path: Path, contents: Contents) -> str:
        """Return ``file:<sha256>`` of a file, ``file:?0``, ``file:?1`` ... where it is not there.

        One that is gone counts as ``contents`` saw it last: nothing that is done needs it any more.
        """
        if path not in self._seen:
            self._seen[path] = self._digest(path, contents)
        return f"file:{self._seen[path]}"

    def start(self, folder: Path, init: str | Initial, contents: Contents) -> Initialisation:
        """Return the start from a file as a row states it, named from ``folder``."""
        stated = Initial.of(init)
        if stated.embeddings:
            return Initialisation(self.add_folder(folder / stated.embeddings, contents))
        return Initialisation(self.add(folder / stated.file, contents), given=Given.of(stated))

    def add_folder(self, path: Path, contents: Contents) -> str:
        """Return ``embeddings:<digest>`` of a folder of features: of its files' names and bytes."""
        if path not in self._seen:
            names = [p for p in sorted(path.rglob("*")) if p.suffix in (".npy", ".b2nd")]
            listing = "".join(f"{p.relative_to(path)} {contents.file(p)}\n" for p in names)
            digest = hashlib.sha256(listing.encode()).hexdigest()
            if names:
                self.paths[digest] = str(path.absolute())
            else:
                digest = f"{UNSEEN}{len(self._lacking)}"
                self._lacking[digest] = path
            self._seen[path] = digest
        return EMBEDDINGS + self._seen[path]

    def path(self, init: str | None) -> Path | None:
        """Return the file that an ``init`` names, None for another kind of start.

        Raises:
            BenchError: it is not there any more.
        """
        if not init or not init.startswith("file:"):
            return None
        path = Path(self.paths[init.removeprefix("file:")])
        if not is_there(path):
            raise BenchError(_ABSENT.format(path))
        return path

    def gone(self) -> list[str]:
        """Return what to tell of files that are not there any more, a line each."""
        files = map(Path, self.paths.values())
        gone = sorted(str(path) for path in files if not is_there(path) and not path.is_dir())
        return [f"init: {path} is gone; only finished results of it can be used" for path in gone]

    @property
    def lacking(self) -> bool:
        """Tell whether a file is not on this machine."""
        return bool(self._lacking)

    def require(self, init: str) -> None:
        """Refuse to start from a file that is not there.

        Raises:
            BenchError: names it.
        """
        path = self._lacking.get(init.removeprefix("file:").removeprefix(EMBEDDINGS))
        if path is not None and init.startswith(EMBEDDINGS):
            what = "has no .npy and no .b2nd file" if path.is_dir() else "is no folder"
            raise BenchError(f"init: {path} {what}; put the features there")
        if path is not None:
            raise BenchError(_ABSENT.format(path))

    def _digest(self, path: Path, contents: Contents) -> str:
        digest = contents.file(path)
        if not digest:
            digest = f"{UNSEEN}{len(self._lacking)}"
            self._lacking[digest] = path
        elif is_there(path):  # a link's target may be named without a suffix
            self.paths[digest] = str(path.absolute())
        else:
            self.paths.setdefault(digest, str(path.absolute()))
        return digest


def check_embeddings(stated: Initial, folder: Path, target: Target, fold: Fold) -> None:
    """Refuse features that lack a case, and those of a model that has seen a case of the tests.

    Raises:
        Misstated: names the folder or the list, and the first such case.
    """
    home = folder / stated.embeddings
    if not stated.embeddings or not target.present or not home.is_dir():
        return
    patients = {*fold.train, *fold.val, *fold.test}
    cases = [c for c in target.cases if c.label is not None and c.patient in patients]
    voxels = target.task == MAPS
    lacking = [c.id for c in cases if embedding(home, c.id, voxels) is None]
    if lacking:
        raise Misstated(
            "init",
            f"{home} lacks {len(lacking)} of {len(cases)} cases of {target.name!r}, the first is "
            f"{lacking[0]}{'.b2nd' if voxels else '.npy'}; run 'bench embed' to write them",
        )
    if stated.pretrained_on:
        held_out = {*fold.val, *fold.test}
        _check_leaks(folder / stated.pretrained_on, [c for c in cases if c.patient in held_out])


ENDINGS = (*SUFFIXES, ".npy", ".b2nd")  # a list may name files


def _case(line: str) -> str:
    name = Path(line).name
    return stem(name) if name.lower().endswith(ENDINGS) else name


def _check_leaks(path: Path, held_out: Sequence[Case]) -> None:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise Misstated("init", f"pretrained_on: {path} is no text; list a case per line") from None
    except OSError as error:
        why = error.strerror or error
        raise Misstated("init", f"pretrained_on: {path} cannot be read ({why})") from None
    names = {_case(line.strip()) for line in lines} - {""}
    if not names:
        raise Misstated("init", f"pretrained_on: {path} is empty; list a case or patient per line")
    leaks = [case.id for case in held_out if names & {case.id, case.patient}]
    if leaks:
        raise Misstated(
            "init",
            f"pretrained_on: {path} names {len(leaks)} held-out cases, the first is {leaks[0]}; use "
            "features of a model that has not seen them",
        )
