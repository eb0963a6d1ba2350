"""axe-core, as the npm registry has it: one version, checked by its hash each time it is read."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from bench.errors import BenchError

VERSION = "4.11.4"
SHA512 = "KunSNx+TVpkAw/6ULfhnx+HWRecjqZGTOyquAoWHYLRSdK1tB5Ihce1ZW+UY3fj33bYAFWPu7W/GRSmmrCGuxA=="
CACHE = Path(__file__).parent / ".cache"
PACK = CACHE / f"axe-core-{VERSION}.tgz"
HOW = "python tools/browser/axe.py --fetch"


def script():
    """Return the JavaScript of axe-core. Raises ``BenchError`` where it was not fetched or is another's."""
    if not PACK.is_file():
        raise BenchError(f"{PACK}: no axe-core; {HOW} fetches it (with npm)")
    if base64.b64encode(hashlib.sha512(PACK.read_bytes()).digest()).decode() != SHA512:
        raise BenchError(f"{PACK}: not axe-core {VERSION} by its hash; delete it, then {HOW}")
    with tarfile.open(PACK) as pack:
        return pack.extractfile("package/axe.min.js").read().decode()


def fetch():
    """Bring the package into ``CACHE`` unless it is there."""
    if PACK.is_file():
        return
    if not shutil.which("npm"):
        raise BenchError("no npm on the PATH: install it (apt-get install npm)")
    CACHE.mkdir(exist_ok=True)
    message = subprocess.run(
        ["npm", "pack", "--silent", f"axe-core@{VERSION}", "--pack-destination", CACHE],
        capture_output=True,
        text=True,
    )
    if message.returncode:
        why = next(filter(None, reversed(message.stderr.splitlines())), "no reason given")
        raise BenchError(f"npm pack axe-core@{VERSION} failed: {why}")
