"""What my protocol measured, for figures of one's own: python my_protocol.py [OUT]."""

import sys
from pathlib import Path

import pandas as pd


def table(rows):
    """Return the mean Dice of each row (index) at each fraction (columns): patients first, then seeds."""
    dice = rows[(rows["metric"] == "dice") & (rows["status"] == "ok")]
    per_run = dice.groupby(["row", "fraction", "seed", "patient"])["value"].mean()
    return (
        per_run.groupby(["row", "fraction", "seed"])
        .mean()
        .groupby(["row", "fraction"])
        .mean()
        .unstack()
    )


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    print(
        table(pd.read_parquet(out / "records" / "my_protocol.parquet")).to_string(
            float_format="%.4f"
        )
    )
