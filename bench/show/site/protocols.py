"""A page for each protocol that ships: what it asks, what it costs, what it assumes, its rows, the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.protocol import Protocol, mixture, named, read
from bench.show.site.markdown import joined, paragraphs, table, words


@cache
def every() -> dict[str, tuple[Path, Protocol]]:
    """Return the protocols that ship, by name, as they are by default."""
    found = ((path, read(path)) for path in named.files())
    return {protocol.name: (path, protocol) for path, protocol in found}


@cache
def users() -> dict[str, dict[str, list[str]]]:
    """Return links to the protocols that have each method, data set and network."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (_, protocol) in every().items():
        read_too = mixture.parts(protocol.pretrain) if protocol.pretrain else ()
        of = {
            "methods": {row.method for row in protocol.rows.values()},
            "networks": {net.network for net in protocol.networks.values()},
            "datasets": {t.dataset for t in protocol.finetune} | {m.dataset for m in read_too},
        }
        for kind, names in of.items():
            for one in names:
                found[kind][one].append(f"[{name}](../protocols/{name}.md)")
    return found


def page(name: str) -> str:
    """Return the page of one protocol."""
    path, protocol = every()[name]
    text, file = path.read_text(encoding="utf-8"), path.relative_to(named.ROOT).as_posix()
    report = named.ROOT / "reports" / name / "index.html"
    drawn = f"As tracked: [page](../../reports/{name}/index.html), [tables](../../reports/{name}/table.md)."
    return "\n\n".join(filter(None, [
        f"# {name}", f"**{words(protocol.title)}.** {paragraphs(protocol.about)}",
        drawn if report.is_file() else "", _opening(text),
        "## Rows", _rows(protocol), "## Fine-tuning and scores", _sections(protocol),
        f"Metrics: {joined(protocol.metrics)}. Scales: {joined(('paper', *protocol.scales))}.",
        _list("Deviations", protocol.deviations), _list("Assumed", protocol.assumed),
        _list("Notes", protocol.notes),
        f"## The file\n\n[{file}](../../{file})\n\n```yaml\n{text.rstrip()}\n```", "",
    ]))  # fmt: skip


def _opening(text: str) -> str:
    """Return what a file opens with: what it reproduces, what is expected, what it costs, the command."""
    lines = [line.removeprefix("#")[1:] for line in text.split("\ntitle:")[0].splitlines() if line[:1] == "#"]
    found: list[list[str]] = []
    for line in lines[1:]:
        key, colon, rest = line.partition(":")
        if colon and key.isalpha() and line[0] != " ":
            found.append([key, rest.strip()])
        elif found:
            found[-1][1] += " " + line.strip()
    rows = [(f"**{key.lower()}**", f"`{said}`" if key == "Command" else words(said)) for key, said in found]
    return table(("", ""), rows)


def _rows(protocol: Protocol) -> str:
    rows = [
        (
            f"`{name}`",
            f"[{row.method}](../methods/{row.method}.md)",
            _net(protocol, row.network),
            words(row.title),
        )
        for name, row in protocol.rows.items()
    ]
    rows += [(f"`{name}`", "printed only", "", words(q.why)) for name, q in protocol.published_only.items()]
    return table(("row", "method", "network", "title"), rows)


def _net(protocol: Protocol, label: str) -> str:
    net = protocol.networks[label]
    return f"[{net.network}](../networks/{net.network}.md), {net.preset}, {' x '.join(map(str, net.crop))}"


def _sections(protocol: Protocol) -> str:
    rows = [
        (words(name), f"[{t.dataset}](../datasets/{t.dataset}.md)", f"`{t.split}`",
         ", ".join(map(str, t.fractions)), ", ".join(map(str, t.seeds)))
        for name, t in zip(protocol.sections, protocol.finetune, strict=True)
    ]  # fmt: skip
    return table(("section", "data set", "split", "percent of the labels", "seeds"), rows)


def _list(heading: str, said: Iterable[str]) -> str:
    lines = [f"- {words(one)}" for one in said]
    return "\n".join([f"## {heading}\n", *lines]) if lines else ""


def index() -> str:
    """Return the list of all protocols."""
    rows = [
        (f"[{name}]({name}.md)", words(p.title), len(p.rows), ", ".join(("paper", *p.scales)))
        for name, (_, p) in every().items()
    ]
    return "# Protocols\n\n" + table(("name", "title", "rows", "scales"), rows) + "\n"
