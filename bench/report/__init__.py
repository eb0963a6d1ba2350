"""Tables, figures and a page, drawn from rows alone. Never imports torch."""

from bench.report.extras import Cost, Extras, Failure, Leak, Panel, ReportPaths
from bench.report.write import terminal_table, write

__all__ = ["Cost", "Extras", "Failure", "Leak", "Panel", "ReportPaths", "terminal_table", "write"]
