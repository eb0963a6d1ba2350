"""Read a bundle that a stranger may have made: judged, laid out, its tables drawn, no code of it run."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import plugins
from bench.errors import BenchError
from bench.extras.bundle import is_bundle
from bench.extras.bundle import manifest as manifests
from bench.extras.bundle.manifest import Manifest, allowed
from bench.process import environment
from bench.show import reports
from bench.show.reports import Shown
from bench.store import Store
from bench.volumes.archive import Archive, Limits

LIMITS = Limits(member=2 << 30, total=4 << 30, members=10_000, free=64 << 20)
ANOTHER = "is not what was bundled (its SHA-256 is another)"


@dataclass(frozen=True)
class Opened:
    """A bundle that lies in a folder of its own for a while, as an output folder."""

    file: Path
    root: Path
    manifest: Manifest
    findings: tuple[str, ...] = ()  # what is not as the manifest says


@contextmanager
def opened(path: Path, *, strict: bool = True) -> Iterator[Opened]:
    """Lay a bundle out; its plugins are known meanwhile, and no other from outside but installed ones.

    Args:
        path: a bundle.
        strict: refuse one with findings.

    Raises:
        BenchError: no bundle, one that no honest command makes, or ``strict`` and a finding.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder).resolve()
        try:
            with Archive(path, LIMITS) as archive:
                bundle = _laid_out(archive, path, root)
            if strict and bundle.findings:
                more = f" and {len(bundle.findings) - 1} more" if len(bundle.findings) > 1 else ""
                raise BenchError(
                    f"{path}: {bundle.findings[0]}{more}; get it again, or make it anew"
                )
            with _plugins_of(bundle):
                yield bundle
        except BenchError as error:  # the folder is gone when a person reads this
            message = str(error).replace(f"{root}{os.sep}", f"{path}: ")
            raise BenchError(message) from None


@contextmanager
def as_folder(path: Path) -> Iterator[Path]:
    """Give the output folder that a bundle is; a path of anything else as it is."""
    if not is_bundle(path):
        yield path
        return
    with opened(path) as bundle:
        yield bundle.root


def draw(bundle: Opened, name: str, to: Path | None, *, figures: bool = True) -> Shown:
    """Draw the report of one protocol of a bundle from what the bundle holds, as ``reports.draw``."""
    listed, store = bundle.manifest.protocols[name], Store(bundle.root)
    protocol, table = reports.recorded(bundle.root / listed.file, listed.scale, store)
    protocol = reports.without_files(protocol)
    facts = reports.said_beside(store, protocol.name)
    more = reports.extras(protocol, table, facts, store, bundle.root / "results")
    return reports.draw(protocol, table, more, to, figures=figures)


def _laid_out(archive: Archive, path: Path, root: Path) -> Opened:
    sizes = {member.name: member for member in archive}
    if manifests.NAME not in sizes:
        raise BenchError(
            f"{path}: no bundle, it has no {manifests.NAME}; 'bench bundle PROTOCOL' makes one"
        )
    try:
        manifest = manifests.read(sizes.pop(manifests.NAME).read())
    except ValueError as error:
        raise BenchError(f"{path}: {manifests.NAME}: {error}; get the bundle again") from None
    for name in (*sizes, *manifest.members):
        if not allowed(name):
            raise BenchError(
                f"{path}: refused, file {name!r} does not belong in a bundle; get the bundle again"
            )
    _named(path, manifest)
    findings = [
        f"{name}: is not in the manifest" for name in sorted(sizes.keys() - manifest.members.keys())
    ]
    Store.open(root)
    for name, listed in manifest.members.items():
        if name not in sizes:
            findings.append(f"{name}: is lost")
            continue
        try:
            raw = sizes[name].read()
        except BenchError as error:  # its checksum in the zip
            findings.append(f"{name}: cannot be read ({error})")
            continue
        if hashlib.sha256(raw).hexdigest() != listed.sha256 or len(raw) != listed.bytes:
            findings.append(f"{name}: {ANOTHER}")
        _put(path, root / name, raw)
    return Opened(path, root, manifest, tuple(findings))


def _named(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest that speaks of members that it does not list."""
    named = {
        file.file for listed in (manifest.protocols, manifest.plugins) for file in listed.values()
    }
    named |= {file.file for file in manifest.splits if file.file}
    if lost := sorted(named - manifest.members.keys()):
        raise BenchError(
            f"{path}: refused, the manifest needs file {lost[0]!r} and does not list this file; get the "
            "bundle again"
        )
    if not manifest.protocols:
        raise BenchError(f"{path}: refused, it holds no protocol")


def _put(path: Path, to: Path, raw: bytes) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(raw)
    except OSError as error:  # a member that is another's folder, a name that no file can have
        raise BenchError(
            f"{path}: refused, its file {to.name} cannot be written ({error.strerror}); get the bundle "
            "again, or make room for temporary files"
        ) from None


@contextmanager
def _plugins_of(bundle: Opened) -> Iterator[None]:
    """Make a bundle's plugins known: constants are read from their text, none is imported."""
    with environment({plugins.PATHS: ""}):
        for outside in bundle.manifest.plugins.values():
            with suppress(BenchError):  # a report is drawn where a plugin is gone, too
                plugins.use([bundle.root / outside.file], str(bundle.file))
        yield
