"""``bench embed``: features of a frozen encoder, one file a case."""

from __future__ import annotations

import argparse
import sys

from bench.commands import flags
from bench.commands.stopping import stopping
from bench.errors import BenchError


def body(arguments: argparse.Namespace) -> int:
    """Embed every case of a data set."""
    from bench.data.roots import Roots
    from bench.extras.embeddings import MANIFEST, Embedding, embed
    from bench.store import Store

    request = Embedding(
        arguments.dataset,
        arguments.init,
        arguments.network,
        arguments.voxels,
        flags.whole_numbers("--levels", arguments.levels),
        arguments.recipe,
        _crop(arguments.crop),
    )

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    with stopping(saves=False):
        roots, store = Roots.here(arguments.data), Store.open(arguments.out)
        written = embed(request, roots, store, arguments.to, arguments.workers, tell)
    print(f"{arguments.to}: {written} files written, what they are stands in {MANIFEST}")
    return 0


def _crop(text: str | None) -> tuple[int, int, int] | None:
    sides = flags.whole_numbers("--crop", text)
    if sides is None:
        return None
    if len(sides) != 3:
        raise BenchError(f"--crop {text}: give three sides, x,y,z, in voxels")
    return sides
