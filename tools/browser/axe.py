"""What is wrong with a page in a browser: axe-core's rules, width, weight, network, script errors.

    python tools/browser/axe.py PAGE.html... [--json]
    python tools/browser/axe.py --fetch              brings axe-core from the npm registry, once

Each page is opened at 1400 and 390 px, light and dark, as it comes and with all ``details`` open. Prints one
line for each finding; exits 1 where there are any, 2 where there is no Chromium, no axe-core or no such page.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import axe_core
from chromium import Chromium
from look import WIDTHS, existing

from bench.errors import BenchError

HEAVIEST = 2_000_000  # bytes of a page
LONGEST = 160  # characters of a node that is shown
IN_PAGE = Path(__file__).with_name("in_page.js").read_text()


@dataclass(frozen=True)
class Finding:
    """One rule broken on one page. ``count``: the most nodes in any state; ``states``: where it was seen."""

    page: str
    rule: str  # axe's, or ours: overflow, weight, network, script
    impact: str
    count: int
    first: str  # the first node, or address, or message
    why: str
    states: tuple[str, ...] = ()


def findings(browser, page, source):
    """Return what is wrong with a page and what axe could not decide, as two lists of ``Finding``."""
    seen = {"violations": defaultdict(list), "incomplete": defaultdict(list)}
    for width, dark in product(WIDTHS, (False, True)):
        for state, kind, rule in _states(browser, page, source, width, dark):
            seen[kind][rule["rule"]].append((state, rule))
    wrong, unsure = ([_together(page, met) for met in rules.values()] for rules in seen.values())
    size = page.stat().st_size
    if size > HEAVIEST:
        why = f"{size / 1e6:.1f} MB, more than {HEAVIEST / 1e6:.0f}"
        wrong.append(Finding(str(page), "weight", "serious", 1, "", why))
    return wrong, unsure


def _states(browser, page, source, width, dark):
    """Yield (state, kind, rule) of one page in one window, as it comes and opened."""
    tab = browser.open(page, width, dark)
    location = f"{width} {'dark' if dark else 'light'}"
    tab.value(f"{source};{IN_PAGE}")
    states = (location, f"{location} open") if tab.value("inPage.folded()") else (location,)
    for state in states:
        if state != location:
            tab.value("inPage.open()")
        for kind, rules in tab.value("inPage.rules()").items():
            yield from ((state, kind, rule) for rule in rules)
        if wider := tab.value("inPage.wider()"):
            why = f"the page is {wider['width']} px wide in a window of {width}"
            yield state, "violations", _rule("overflow", "serious", [wider["by"]], why)
    away = [*tab.requests(), *tab.value("inPage.greeted()")]
    for name, items, why in (
        ("network", away, "the page asks for what is not on the disk"),
        ("script", tab.errors(), "an error in the browser's console"),
    ):
        if items:
            yield location, "violations", _rule(name, "serious", items, why)
    tab.close()


def _rule(name, impact, items, why):
    return {"rule": name, "impact": impact, "count": len(items), "first": items[0], "why": why}


def _together(page, met):
    """Return one finding of a rule's several states; shown is where it is broken most."""
    _, most = max(met, key=lambda state: state[1]["count"])
    shown = " ".join(most["first"].split())
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} ..."
    facts = most["rule"], most["impact"], most["count"], shown, " ".join(most["why"].split())
    return Finding(str(page), *facts, tuple(state for state, _ in met))


def line(finding):
    """Return a finding for a terminal."""
    where = f" [{'; '.join(finding.states)}]" if finding.states else ""
    printed = (
        f"{finding.page}: {finding.rule} ({finding.impact}) x{finding.count}{where}: {finding.why}"
    )
    return f"{printed}\n    {finding.first}" if finding.first else printed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE.html")
    parser.add_argument(
        "--json", action="store_true", help="everything, also what axe could not decide"
    )
    parser.add_argument(
        "--fetch", action="store_true", help="bring axe-core from the npm registry first"
    )
    requested = parser.parse_args()
    try:
        if requested.fetch:
            axe_core.fetch()
            if not requested.pages:
                return 0
        source = axe_core.script()
        pages = [existing(p) for p in requested.pages]
        if not pages:
            raise BenchError("name a page")
        wrong, unsure = [], []
        with Chromium() as browser:
            for page in pages:
                both = findings(browser, page, source)
                for listed, new in zip((wrong, unsure), both, strict=True):
                    listed += new
                for result in wrong if not requested.json else ():
                    if result.page == str(page):
                        print(line(result), flush=True)
    except (BenchError, OSError) as error:
        print(f"axe: {error}", file=sys.stderr)
        return 2
    if requested.json:
        printed = {"violations": wrong, "undecided": unsure}
        print(json.dumps({k: [asdict(f) for f in v] for k, v in printed.items()}, indent=1))
    else:
        print(
            f"{len(pages)} pages, {len(wrong)} findings; axe could not decide {len(unsure)} (--json)"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
