"""Pages as pictures: at 1400 and 390 px, light and dark, and as they print.

    python tools/browser/look.py PAGE.html... --to DIR [--open]

Writes DIR/<page>-<width>-<light|dark>.png, the whole height of each page (in parts of 16,000 px where it is
higher), and DIR/<page>-print.pdf with a PNG of each sheet where pdftoppm is there. ``--open``: with all
``details`` open. Exits 2 where there is no Chromium or no such page.
"""

import argparse
import base64
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

from chromium import Chromium

from bench.errors import BenchError

WIDTHS = (1400, 390)
PART = 16_000  # px of height in one picture; from 16,384 on Chromium repeats itself
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true)"
DPI = "60"  # of the sheets' pictures


def names(pages):
    """Return for each page what its pictures are called: reports/a/index.html is a."""
    called = [p.resolve().parent.name if p.stem == "index" else p.stem for p in pages]
    return [n if called.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(called)]


def existing(text):
    """Return the path of a page that is there."""
    if not (path := Path(text)).is_file():
        raise BenchError(f"{text}: no such page")
    return path


def pictures(browser, page, name, folder, opened):
    """Write one page's pictures and return their paths."""
    built = []
    for width, dark in product(WIDTHS, (False, True)):
        tab = browser.open(page, width, dark)
        if opened:
            tab.value(OPEN)
        height = tab.value("document.documentElement.scrollHeight")
        for top in range(0, height, PART):
            part = f"-{top // PART + 1}" if height > PART else ""
            clip = {"x": 0, "y": top, "width": width, "height": min(PART, height - top), "scale": 1}
            shot = tab.ask(
                "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
            )
            built.append(folder / f"{name}-{width}-{'dark' if dark else 'light'}{part}.png")
            built[-1].write_bytes(base64.b64decode(shot["data"]))
        tab.close()
    return [*built, *printed(browser, page, folder / f"{name}-print.pdf", opened)]


def printed(browser, page, pdf, opened):
    """Write a page as it prints, and a picture of each sheet."""
    tab = browser.open(page, WIDTHS[0], dark=False)
    if opened:
        tab.value(OPEN)
    pdf.write_bytes(base64.b64decode(tab.ask("Page.printToPDF", preferCSSPageSize=True)["data"]))
    tab.close()
    for stale in pdf.parent.glob(f"{pdf.stem}-*.png"):
        stale.unlink()
    if shutil.which("pdftoppm"):
        subprocess.run(["pdftoppm", "-png", "-r", DPI, pdf, pdf.with_suffix("")], check=True)
    return [pdf, *sorted(pdf.parent.glob(f"{pdf.stem}-*.png"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="+", metavar="PAGE.html")
    parser.add_argument("--to", required=True, type=Path, metavar="DIR")
    parser.add_argument("--open", action="store_true", help="with all details open")
    requested = parser.parse_args()
    try:
        pages = [existing(p) for p in requested.pages]
        requested.to.mkdir(parents=True, exist_ok=True)
        with Chromium() as browser:
            for page, name in zip(pages, names(pages), strict=True):
                paths = pictures(browser, page, name, requested.to, requested.open)
                print(*paths, sep="\n", flush=True)
    except (BenchError, OSError) as error:
        print(f"look: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
