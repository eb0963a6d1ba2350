"""A page for each method, data set, network and protocol, and an index of each kind."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from bench import registry
from bench.data.split import offered
from bench.dataset import Dataset
from bench.extras.site.fields import as_yaml, described
from bench.extras.site.markdown import anchor, cited, facts, joined, paragraphs, table, words
from bench.nets import catalog
from bench.nets.sizes import Entry
from bench.protocol import Protocol, mixture, named, read
from bench.protocol.named import ROOT
from bench.typed import plain

NEEDS = {
    "features": "an encoder's maps",
    "tokens": "an encoder that can leave patches out",
    "patches": "an encoder whose patches can be replaced",
    "decoder": "a decoder, which it trains, too",
}
VIEWS = {
    "any": "of any size",
    "multiples": "of multiples of its step",
    "crops": "as large as its crop",
}
Facts = list[tuple[str, object]]


def generated() -> dict[str, str]:
    """Return the generated pages: path under ``pages``, Markdown."""
    pages = {}
    for kind, (names, page, index) in {
        "protocols": (sorted(_protocols()), _protocol, _protocol_index),
        "methods": (registry.names("method"), _method, _method_index),
        "datasets": (registry.names("dataset"), _dataset, _dataset_index),
        "networks": (catalog.names(), _network, _network_index),
    }.items():
        pages[f"reference/{kind}/index.md"] = index() + "\n"
        pages |= {f"reference/{kind}/{name}.md": page(name) for name in names}
    return pages


def _page(*parts: str) -> str:
    return "\n\n".join([*filter(None, parts), ""])


def _link(name: str, kind: str = ".") -> str:
    return f"[{name}]({kind}/{name}.md)" if kind != "." else f"[{name}]({name}.md)"


def _links(names: Iterable[str], kind: str = ".") -> str:
    return ", ".join(_link(name, f"../{kind}") for name in names)


def _sides(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def _used(kind: str, name: str) -> str:
    """Return links to the protocols that have a method, data set or network."""
    return f"## Protocols\n\n{_links(_users()[kind].get(name, ()), 'protocols') or 'None.'}"


@cache
def _users() -> dict[str, dict[str, list[str]]]:
    """Return the names of protocols by kind and name of what they have."""
    users: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for protocol_name, (_, protocol) in _protocols().items():
        pretrained_on = mixture.parts(protocol.pretrain) if protocol.pretrain else ()
        has = {
            "methods": {row.method for row in protocol.rows.values()},
            "networks": {net.network for net in protocol.networks.values()},
            "datasets": {t.dataset for t in protocol.finetune} | {m.dataset for m in pretrained_on},
        }
        for kind, names in has.items():
            for name in names:
                users[kind][name].append(protocol_name)
    return users


def _method(name: str) -> str:
    method = registry.load("method", name)
    files = [
        n
        for n in (name, f"{name.removesuffix('2d')}3d")
        if (ROOT / f"docs/methods/{n}.md").is_file()
    ]
    notes = f"../../docs/methods/{files[0]}.md"  # a task on slices may share those of its volumes
    return _page(
        f"# {name}: {method.title}",
        paragraphs(sys.modules[method.__module__].__doc__),
        paragraphs(method.__doc__),
        f"How it works, what differs from the authors' code and what was measured: [notes]({notes}).",
        facts(_method_facts(name, method)),
        f"## Parameters\n\n{_parameters(method)}",
        _used("methods", name),
    )


def _method_facts(name: str, method: Any) -> Facts:
    return [
        ("source", cited(method.source)),
        ("fidelity", words(method.fidelity)),
        ("paper", method.paper),
        ("dimensions", "2 and 3" if method.any_dims else method.dims),
        ("figure", _figure(method)),
        ("needs", NEEDS[method.needs] if method.pretrains else "nothing: it does not pretrain"),
        ("networks", _links(method.networks(), "networks")),
        ("compares samples of a batch", "yes" if method.across_batch else "no"),
        ("smallest batch", method.min_batch),
        ("version", method.version),
        ("file", f"`methods/{name}.py`"),
    ]


def _figure(method: Any) -> str:
    """Return in words by which number a run shows that it learns."""
    figure = getattr(method, "figure", None)
    if figure is None:
        return ""
    chance = f", beside `{figure.chance}` of guessing" if figure.chance else ""
    better = "higher" if figure.rises else "lower"
    return f"`{figure.term}`: {words(figure.says)}; {better} is better{chance}"


def _parameters(method: Any) -> str:
    rows = [
        (f"`{p.name}`", p.kind, f"`{p.default}`" if p.default else "", words(p.comment))
        for p in described(method.Params)
    ]
    if not rows:
        return "None."
    text = paragraphs(method.Params.__doc__)
    return f"{text}\n\n{table(('name', 'type', 'default', 'source'), rows)}"


def _method_index() -> str:
    methods = {name: registry.load("method", name) for name in registry.names("method")}
    rows = [
        (_link(n), m.title, "2, 3" if m.any_dims else m.dims, joined([m.needs]), words(m.fidelity))
        for n, m in methods.items()
    ]
    return "# Methods\n\n" + table(("name", "title", "dimensions", "needs", "fidelity"), rows)


def _dataset(name: str) -> str:
    data: Dataset = registry.load("dataset", name)()
    more = f"../../docs/datasets.md#{anchor(f'{name}: {data.title}')}"
    recipes = [(f"`{key}`", _differs(recipe)) for key, recipe in data.recipes.items()]
    return _page(
        f"# {name}: {data.title}",
        paragraphs(type(data).__doc__),
        f"How many cases, and what to know before using it: [data sets]({more}).",
        facts(_dataset_facts(data)),
        f"## Labels\n\n{_labels(data)}",
        f"## Recipes\n\n{table(('name', 'what differs from a bare recipe'), recipes)}",
        "## Splits",
        _splits(data),
        f"By a rule, on whatever is there: {joined(offered(data)[len(data.splits) :])}.",
        _used("datasets", name),
    )


def _dataset_facts(data: Dataset) -> Facts:
    passed = (
        "yes" if data.redistribution else "not said to be so: no page meant for sharing shows any"
    )
    overlaps = "; ".join(f"{_link(other)}: {words(what)}" for other, what in data.overlaps.items())
    doubts = "; ".join(f"`{case}`: {words(what)}" for case, what in data.doubtful.items())
    return [
        ("source", cited(data.source)),
        ("licence", words(data.licence)),
        ("images may be passed on", passed),
        ("modality", data.modality),
        ("channels", ", ".join(data.channels)),
        ("task", data.task),
        ("how to get it", words(data.unpack)),
        ("empty masks", f"convention `{data.empty}`"),
        ("patients", words(data.caution)),
        ("same scans or people in", overlaps),
        ("doubtful cases", doubts),
        ("version", data.version),
    ]


def _labels(data: Dataset) -> str:
    if not data.labels:
        return "None."
    raw = {label: value for value, label in data.raw_labels.items()}
    rows = [(value, words(name), raw.get(value, value)) for value, name in data.labels.items()]
    regions = "; ".join(
        f"{name} = {', '.join(map(str, values))}" for name, values in data.regions.items()
    )
    text = table(("value", "name", "value in the files"), rows)
    return f"{text}\n\nRegions that are scored: {regions}." if regions else text


def _differs(recipe: Any) -> str:
    changed = [f.name for f in fields(recipe) if getattr(recipe, f.name) != f.default]
    return ", ".join(f"`{n}: {as_yaml(plain(getattr(recipe, n)))}`" for n in changed) or "nothing"


def _splits(data: Dataset) -> str:
    """Return how many names each part of a list has, and whose list it is; empty without lists."""
    rows = []
    lists = {
        **data.splits,
        **{f"{name} (for pretraining)": file for name, file in data.lists.items()},
    }
    for split, file in lists.items():
        parts = json.loads((ROOT / "datasets" / "splits" / file).read_text(encoding="utf-8"))
        named_parts = {k: v for k, v in parts.items() if isinstance(v, list) and k != "folds"}
        sizes = [
            f"{part} {len(cases)}"
            for part, cases in [*named_parts.items(), *parts.get("cases", {}).items()]
        ]
        sizes += [
            f"{len(fold['test'])} tested in fold {n}"
            for n, fold in enumerate(parts.get("folds", ()))
        ]
        rows.append((f"`{split}`", ", ".join(sizes), words(f"{parts['source']}. {parts['note']}")))
    return table(("name", "cases or patients", "source"), rows) if rows else ""


def _dataset_index() -> str:
    every = {name: registry.load("dataset", name)() for name in registry.names("dataset")}
    rows = [
        (_link(n), d.title, d.modality, len(d.labels), words(d.licence)) for n, d in every.items()
    ]
    return "# Data sets\n\n" + table(("name", "title", "modality", "labels", "licence"), rows)


def _network(name: str) -> str:
    network = catalog.network_facts(name)
    sizes = [
        (
            f"`{key}`",
            f"{p.parameters:,}",
            f"{p.encoder_parameters:,}",
            _sides(p.crop),
            p.in_channels,
            p.out_channels,
            f"{p.flops_per_voxel * prod(p.crop) / 1e9:,.2f}",
            _size(p.size),
        )
        for key, p in network.presets.items()
    ]
    heading = (
        "preset",
        "parameters",
        "encoder",
        "crop",
        "channels in",
        "out",
        "GFLOP a crop",
        "size",
    )
    return _page(
        f"# {name}: {network.title}",
        "More of it: [networks](../../docs/networks.md).",
        facts(_network_facts(network)),
        f"## Sizes\n\n{table(heading, sizes)}",
        "Counted at the crop and channels shown; GFLOP are of one forward pass, by torch's counter.",
        f"## Methods that train it\n\n{_links(_trainers()[name], 'methods')}",
        _used("networks", name),
    )


def _size(size: Any) -> str:
    """Return from what a network's module makes a size."""
    return ", ".join(f"{f.name} {as_yaml(plain(getattr(size, f.name)))}" for f in fields(size))


def _network_facts(facts: Entry) -> Facts:
    return [
        ("source", cited(facts.source)),
        ("dimensions", facts.dims),
        ("tasks", ", ".join(facts.tasks)),
        ("every side of a crop is a multiple of", _sides(facts.multiple)),
        ("its maps are coarser by", ", ".join(map(_sides, facts.pyramid))),
        ("views smaller than a crop", VIEWS[facts.views]),
        (
            "patches",
            "can leave some out" if facts.tokens else "can replace some" if facts.patches else "",
        ),
        ("batch norm", "yes" if facts.batch_norm else "no"),
        ("scales of deep supervision", facts.scales),
        ("file", f"`{facts.module.replace('.', '/')}.py`"),
        ("version", facts.version),
    ]


@cache
def _trainers() -> dict[str, list[str]]:
    """Return which methods train each network."""
    networks = {
        name: set(registry.load("method", name).networks()) for name in registry.names("method")
    }
    return {
        net: [m for m, trained in networks.items() if net in trained] for net in catalog.names()
    }


def _network_index() -> str:
    rows = [
        (
            _link(e.name),
            e.title,
            e.dims,
            ", ".join(e.tasks),
            ", ".join(f"{key} ({p.parameters / 1e6:.2f} M)" for key, p in e.presets.items()),
        )
        for e in catalog.entries().values()
    ]
    return "# Networks\n\n" + table(("name", "title", "dimensions", "tasks", "sizes"), rows)


@cache
def _protocols() -> Mapping[str, tuple[Path, Protocol]]:
    """Return the protocols that ship, by name, as they are by default."""
    return {protocol.name: (path, protocol) for path in named.files() for protocol in [read(path)]}


def _protocol(name: str) -> str:
    path, protocol = _protocols()[name]
    text, file = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    report = (ROOT / "reports" / name / "index.html").is_file()
    drawn = f"As tracked: [page](../../reports/{name}/index.html), [tables](../../reports/{name}/table.md)."
    return _page(
        f"# {name}",
        f"**{words(protocol.title)}.** {paragraphs(protocol.about)}",
        drawn if report else "",
        _opening(text),
        f"## Rows\n\n{_rows(protocol)}",
        f"## Fine-tuning and scores\n\n{_sections(protocol)}",
        f"Metrics: {joined(protocol.metrics)}. Scales: {joined(('paper', *protocol.scales))}.",
        *(
            _list(part, getattr(protocol, part.lower()))
            for part in ("Deviations", "Assumed", "Notes")
        ),
        f"## The file\n\n[{file}](../../{file})\n\n```yaml\n{text.rstrip()}\n```",
    )


def _opening(text: str) -> str:
    """Return what a file opens with: what it reproduces, what is expected, what it costs, the command."""
    lines = [
        line.removeprefix("#")[1:]
        for line in text.split("\ntitle:")[0].splitlines()
        if line[:1] == "#"
    ]
    parts: list[list[str]] = []
    for line in lines[1:]:
        key, colon, rest = line.partition(":")
        if colon and key.isalpha() and line[0] != " ":
            parts.append([key, rest.strip()])
        elif parts:
            parts[-1][1] += " " + line.strip()
    rows = [
        (f"**{key.lower()}**", f"`{part}`" if key == "Command" else words(part))
        for key, part in parts
    ]
    return table(("", ""), rows)


def _rows(protocol: Protocol) -> str:
    rows = []
    for name, row in protocol.rows.items():
        net = protocol.networks[row.network]
        network = f"{_link(net.network, '../networks')}, {net.preset}, {_sides(net.crop)}"
        rows.append((f"`{name}`", _link(row.method, "../methods"), network, words(row.title)))
    rows += [
        (f"`{name}`", "printed only", "", words(q.why))
        for name, q in protocol.published_only.items()
    ]
    return table(("row", "method", "network", "title"), rows)


def _sections(protocol: Protocol) -> str:
    rows = [
        (
            words(name),
            _link(t.dataset, "../datasets"),
            f"`{t.split}`",
            ", ".join(map(str, t.fractions)),
            ", ".join(map(str, t.seeds)),
        )
        for name, t in zip(protocol.sections, protocol.finetune, strict=True)
    ]
    return table(("section", "data set", "split", "percent of the labels", "seeds"), rows)


def _list(heading: str, texts: Sequence[str]) -> str:
    return "\n".join([f"## {heading}\n", *(f"- {words(text)}" for text in texts)]) if texts else ""


def _protocol_index() -> str:
    rows = [
        (_link(name), words(p.title), len(p.rows), ", ".join(("paper", *p.scales)))
        for name, (_, p) in _protocols().items()
    ]
    return "# Protocols\n\n" + table(("name", "title", "rows", "scales"), rows)
