"""Tables, figures and a page, drawn from rows alone. Never imports torch."""

from bench.report.extras import Cloud, Cost, Extras, Failure, Leak, Panel, Pretext, ReportPaths
from bench.report.write import terminal_table, write

__all__ = [
    "Cloud", "Cost", "Extras", "Failure", "Leak", "Panel", "Pretext", "ReportPaths", "terminal_table",
    "write",
]  # fmt: skip
