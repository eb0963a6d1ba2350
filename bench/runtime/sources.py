"""Which source files stand behind a job's numbers, by the imports; reads files and imports nothing heavy.

A file is recorded as ``<bytes> <meaning>``, 12 hex digits each: of its bytes, and of its syntax tree without
comments, layout and docstrings (``bench.imports.meaning``), in which an import of ours goes by the imported
module's own name, not by its folders. Where the bytes differ the meaning decides, and a file that lies
somewhere else now is looked for by it; ``refactored.json`` has meanings that count as equal. A manifest of an
older bench has the bytes alone, and they decide.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import plugins, registry, typed
from bench.errors import BenchError
from bench.imports import imports, meaning
from bench.job import Job
from bench.jobs import KINDS
from bench.registry import ROOMS, folder

if TYPE_CHECKING:
    from bench.nets.sizes import Entry

ROOT = Path(__file__).resolve().parents[2]
# Reached by imports and nothing that could change a number: they look plugins up, keep files and processes
# in order, say what went wrong, who is cited; a protocol's words and the versions are in a job's id already.
APART = {
    "bench.atomic",
    "bench.blame",
    "bench.claims",
    "bench.data.parts",
    "bench.digest",
    "bench.document",
    "bench.errors",
    "bench.imports",
    "bench.job",
    "bench.jobs.context",
    "bench.jobs.kind",
    "bench.jobs.training_kind",
    "bench.nets.catalog",
    "bench.nets.table",
    "bench.plugins",
    "bench.process",
    "bench.protocol",
    "bench.ranges",
    "bench.registry",
    "bench.source",
    "bench.store",
    "bench.typed",
    "bench.workers",
}
DECLARE = {kind.__module__ for kind in KINDS.values()}  # what a kind of job is, not what it does
OPEN = {"bench", "bench.jobs"}  # packages that import more than whoever needs a module of theirs
OUTSIDE = "plugin:"  # begins the name of a file from outside: its content is in the ids of jobs
FACTS = "bench/nets/table.py:"  # begins what stands for a network's row in the table: others' are not its own
# Likewise: phantoms are files like any others, and label maps are scored after a job, from what it keeps.
PHANTOMS = ("bench.phantoms",)
SCORES = "bench.metrics"
PROBES = (  # behind a probe alone
    "bench.probes",
    "bench.jobs.finetune.probe",
    "bench.jobs.probing",
    "bench.data.values",
    "bench.metrics.values",
    "bench.jobs.pretrain.online_probe",
)
UNRECORDED = "files that an older version of bench did not record"
EARLIER = "begun_by"  # in a manifest: files of which another state began the job
ADDED = "added"  # in ``refactored.json``: files that were not there before
NOTHING = "-"  # what a file means that has a docstring alone
SPEC = "spec"  # a module of this name goes by its folder's: ``jobs/guard/spec.py`` is ``guard``
NAME = re.compile(r"(\w+/)*\w+\.py")


@dataclass(frozen=True)
class _File:
    """What was found in one file: which state of it, and where it was parsed what it means and imports."""

    stamp: tuple[int, int]
    digest: str  # of its bytes
    meaning: str = ""
    imports: tuple[str, ...] | None = None

    @property
    def recorded(self) -> str:
        """Return what a manifest keeps of it."""
        return f"{self.digest} {self.meaning or NOTHING}"


_parsed_files: dict[Path, _File] = {}
# in a worker: the state that it imported, whatever was looked at since
_ran: dict[Path, _File] = {}


def sources(job: Mapping[str, Any], *, again: bool = True) -> dict[str, str]:
    """Return the files that a job's numbers come from, each with the digests of its bytes and its meaning.

    It is what the module that does such jobs and the plugins and networks that the spec names import,
    wherever in the file, and what that imports in turn; ``APART`` is left out, and what a type checker
    alone reads.

    Args:
        job: ``kind`` and ``spec``, as a manifest has them.
        again: look again whether a file changed. A worker does not: it runs what it imported before.

    Raises:
        BenchError: a file cannot be read or is no Python; names it and the line.
    """
    named = dict(_plugins(job))
    paths = [*named, ROOT / f"{KINDS[job['kind']].work().replace('.', '/')}.py"]
    modules, left_out = [row.module for row in _entries(job)], _left_out(job)
    recorded, looked = dict[Path, str](), set[str]()
    while paths or modules:
        for module in modules:
            paths += () if module.startswith(left_out) else _paths(module, looked)
        new = (path for path in dict.fromkeys(paths) if path not in recorded)
        read = [(path, _parsed(path, again)) for path in new]
        recorded |= {path: file.recorded for path, file in read}
        paths, modules = [], [module for _, file in read for module in file.imports or ()]
    files = {named.get(path) or _name(path): digest for path, digest in recorded.items()}
    return dict(sorted({**files, **_facts(job)}.items()))


def source_hash(made_by: Mapping[str, str]) -> str:
    """Return one digest of what ``sources`` returned."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(made_by.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Note:
    """What an unfinished job keeps of the files that work on it, and of others that did before."""

    files: dict[str, str]  # as ``sources`` returns them
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """Which source files worked on an unfinished job before today's."""

    differ: tuple[str, ...] = ()  # others than today's, in the last attempt
    earlier: tuple[str, ...] = ()  # those with which ``--keep-unfinished`` went on before


def unfinished(note: str | None, made_by: Mapping[str, str]) -> Unfinished:
    """Return what a job's note says of the attempts before.

    Args:
        note: as ``note`` wrote it; by an older bench one digest of the bytes of all files; None: no attempt.
        made_by: today's files, as ``sources`` returns them.
    """
    if note is None:
        return Unfinished()
    try:
        last = typed.read(_Note, note.encode())
    except ValueError:
        same = note == source_hash({name: bytes_of(recorded) for name, recorded in made_by.items()})
        return Unfinished(() if same else (UNRECORDED,))
    return Unfinished(_unlike(last.files, made_by), last.earlier)


def note(made_by: Mapping[str, str], earlier: Iterable[str]) -> str:
    """Return the text of a note, which ``unfinished`` reads."""
    return json.dumps(typed.plain(_Note(dict(made_by), tuple(sorted(earlier)))), sort_keys=True)


def changed(manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return which files are no longer what a finished job was made by; None where it names none.

    No file is parsed where the bytes of none differ: their imports are the same then, and so is everything
    that they lead to.
    """
    provenance = manifest.get("provenance") or {}
    recorded = provenance.get("sources")
    if recorded is None or "spec" not in manifest or "kind" not in manifest:
        return None if provenance.get("source") else ()
    ours = {name: path for path, name in _plugins(manifest)}
    facts = _facts(manifest)
    inside = [name for name in recorded if name not in facts and not name.startswith(OUTSIDE)]
    now = {name: ours.get(name) or _path(name) for name in inside}
    digests = {name: path and _digest(path) for name, path in now.items()}
    lost = {name for name in inside if digests[name] != bytes_of(recorded[name])}
    if manifest["kind"] in KINDS and any(" " in recorded[name] for name in lost):
        with suppress(BenchError):  # a file that is no Python now has no meaning
            made_by = sources(manifest)
            today = {n: made_by[n] for n in made_by if not n.startswith((OUTSIDE, FACTS))}
            lost = {*_unlike({name: recorded[name] for name in inside}, today)}
    lost |= {name for name in facts if facts[name] != recorded.get(name, facts[name])}
    return tuple(sorted(lost | {*provenance.get(EARLIER, ())}))


def bytes_of(recorded: str) -> str:
    """Return the digest of a recorded file's bytes, which older manifests have alone."""
    return recorded.partition(" ")[0]


def _unlike(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of files that only one of two states has; a file is the same under another name.

    A file that is no longer behind a job is no change by itself: what imported it is another file now.
    """

    def only(these: Mapping[str, str], those: Mapping[str, str]) -> set[str]:
        equal = {digest for recorded in those.values() for digest in _digests(recorded)}
        other = {name for name, recorded in these.items() if equal.isdisjoint(_digests(recorded))}
        return {name for name in other if not these[name].endswith(NOTHING)}

    newer = {name for name in only(now, before) if now[name].partition(" ")[2] not in added()}
    return tuple(sorted(newer | only(before, now))) if newer else ()


def _digests(recorded: str) -> tuple[str, ...]:
    """Return the digests of a file's bytes and of its meaning; of a refactored file's the first."""
    content, _, meaning = recorded.partition(" ")
    first = refactored().get(meaning, meaning)
    return (content, first) if first else (content,)


@lru_cache(maxsize=1)
def refactored() -> dict[str, str]:
    """Return the first meaning of a refactored file by each of its meanings.

    ``refactored.json`` has a file's meanings before and after refactorings that changed no number. To add
    one: print ``sources`` of a job before and after, and compare the records to the byte.
    """
    files = _refactored_json()
    return {
        meaning: meanings[0]
        for name, meanings in files.items()
        if name != ADDED
        for meaning in meanings
    }


@lru_cache(maxsize=1)
def added() -> frozenset[str]:
    """Return the meanings of files that came to stand behind jobs and changed no number of those before."""
    return frozenset(_refactored_json().get(ADDED, ()))


def _refactored_json() -> dict[str, list[str]]:
    files: dict[str, list[str]] = json.loads(
        Path(__file__).with_name("refactored.json").read_bytes()
    )
    return files


def _left_out(job: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what begins the names of modules that a job imports and that change none of its numbers."""
    tuned = job["spec"].get("finetune", {})
    judged = tuned.get("select", "last") != "last" or tuned.get("patience") is not None
    probed = tuned.get("evaluation") == "probe" or job["spec"].get("probe")
    left = PHANTOMS if probed else (*PHANTOMS, *PROBES)
    return left if judged or job["kind"] not in ("finetune", "evaluate") else (*left, SCORES)


def names(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of the method, the network and the data sets that a job's spec names."""
    data = spec.get("data", spec.get("dataset"))
    parts = [*(data if isinstance(data, list) else [data]), *spec.get("tests", ())]
    sections = [("method", "name", spec.get("method")), ("network", "network", spec.get("network"))]
    sections += [("dataset", "dataset", part) for part in parts]
    named = dict[tuple[str, str], None]()
    for kind, key, section in sections:
        name = section.get(key) if isinstance(section, dict) else section
        if isinstance(name, str) and (kind == "dataset" or isinstance(section, dict)):
            named[kind, name] = None
    yield from named


def touched(plan: Mapping[str, Job], job: str) -> tuple[plugins.Planned, ...]:
    """Return what comes from outside and a job of a plan, or what it stands on, touches."""
    waiting, named = [job], dict[tuple[str, str], None]()
    while waiting:
        current = plan[waiting.pop()]
        named |= dict.fromkeys(names(current.plain()["spec"]))
        waiting += current.needs
    return plugins.planned(named)


def _plugins(job: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the files of a job's plugins, each with the name that it is known by."""
    for kind, name in names(job["spec"]):
        if (plugin := plugins.by_name(kind).get(name)) is not None:
            files = plugins.files(plugin).items()
            yield from ((path, f"{OUTSIDE}{file_name}") for file_name, path in files)
        # a data set that is only a folder in MSD layout has no file
        elif kind in ROOMS and name.isidentifier():
            path = registry.file(kind, name, ours=True).resolve()
            if path.is_file():
                yield path, f"{kind}s/{path.name}"


def _facts(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of what the table says of a job's network, nothing of one from outside."""
    return {f"{FACTS}{row.name}": _sum(repr(row).encode()) for row in _entries(job)}


def _entries(job: Mapping[str, Any]) -> list[Entry]:
    """Return the row of the table for a job's network, nothing for a job without one."""
    from bench.nets import catalog

    net = job["spec"].get("network")
    name = net.get("network") if isinstance(net, dict) else None
    return [catalog.CATALOG[name]] if name in catalog.CATALOG else []


def _parsed(path: Path, again: bool) -> _File:
    """Return a file's digest and imports; of one state of the file, once."""
    if not again and path in _ran:
        return _ran[path]
    file = _parsed_files.get(path)
    try:
        if file is None or file.imports is None or (again and _stamp(path) != file.stamp):
            stamp, raw = _stamp(path), path.read_bytes()
            tree = ast.parse(raw)
            imported, means = tuple(dict.fromkeys(imports(tree.body))), meaning(raw, tree, _role)
            file = _parsed_files[path] = _File(stamp, _sum(raw), means, imported)
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror}); correct this") from None
    except (SyntaxError, ValueError, RecursionError) as error:  # null bytes, another encoding
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        why = getattr(error, "msg", error)
        raise BenchError(f"{path}{line}: is not valid Python ({why}); correct the file") from None
    return file if again else _ran.setdefault(path, file)


def _digest(path: Path) -> str:
    """Return a file's digest, empty where it cannot be read."""
    try:
        stamp = _stamp(path)
        if path not in _parsed_files or _parsed_files[path].stamp != stamp:
            _parsed_files[path] = _File(stamp, _sum(path.read_bytes()))
    except OSError:
        return ""
    return _parsed_files[path].digest


def _stamp(path: Path) -> tuple[int, int]:
    now = path.stat()
    return now.st_mtime_ns, now.st_size


def _sum(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:12]


def _paths(module: str, looked: set[str]) -> Iterator[Path]:
    """Yield the files that importing a module of ours runs: its own and its packages'.

    Those of what was ``looked`` at before are left out; a name inside a module leads to that module.
    """
    parts = module.split(".")
    if parts[0] not in {"bench", *(package for package, *_ in ROOMS.values())}:
        return
    for count in range(1, len(parts) + 1):
        dotted = ".".join(parts[:count])
        if dotted in OPEN:
            continue
        if dotted in APART or dotted in DECLARE:
            return
        if dotted in looked:
            continue
        looked.add(dotted)
        target = _location(parts[:count])
        for path in (target / "__init__.py", target.with_suffix(".py")):
            if path.is_file():
                yield path


def _role(name: str) -> str | None:
    """Return what stands for an imported name of ours wherever its module's file lies; None for others'."""
    parts = name.split(".")
    if parts[0] not in {"bench", *(package for package, *_ in ROOMS.values())}:
        return None
    target = _location(parts)
    is_module = target.with_suffix(".py").is_file() or (target / "__init__.py").is_file()
    module, name_inside = (parts, []) if is_module else (parts[:-1], parts[-1:])
    return ".".join([module[-2 if module[-1] == SPEC else -1], *name_inside])


def _location(parts: list[str]) -> Path:
    rooms = {package: kind for kind, (package, *_) in ROOMS.items()}
    first = folder(rooms[parts[0]]).resolve() if parts[0] in rooms else ROOT / parts[0]
    return first.joinpath(*parts[1:])


def _name(path: Path) -> str:
    for kind in ROOMS:
        if path.parent == folder(kind).resolve():
            return f"{kind}s/{path.name}"
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _path(name: str) -> Path | None:
    """Return where a file of that name would be; None for a name that no file of ours has."""
    if not NAME.fullmatch(name):  # a manifest may come from elsewhere
        return None
    first, _, rest = name.partition("/")
    kinds = {f"{kind}s": kind for kind in ROOMS}
    return folder(kinds[first]) / rest if first in kinds else ROOT / name
