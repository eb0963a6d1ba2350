"""The command line that most measuring scripts share."""

import argparse
from typing import Any


def options(doc: str, **defaults: Any) -> argparse.Namespace:
    """Read a flag per default, of its type; ``False`` is a switch, a list takes any number of values."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in defaults.items():
        how: dict[str, Any] = {"action": "store_true"}
        if isinstance(value, list):
            how = {"default": value, "type": type(value[0]), "nargs": "*"}
        elif value is not False:
            how = {"default": value, "type": type(value)}
        parser.add_argument("--" + name.replace("_", "-"), **how)
    return parser.parse_args()
