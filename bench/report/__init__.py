"""Tables, figures and a page, drawn from rows alone. Never imports torch."""

from bench.report.index import indexed
from bench.report.index import write as write_index
from bench.report.paper import write_paper
from bench.report.supplement import (
    Cloud,
    Cost,
    Course,
    DatasetInfo,
    Extras,
    Failure,
    ImportedCell,
    Ingredient,
    Leak,
    Panel,
    Pretext,
    Pretraining,
    ProbeCurve,
    Supplement,
)
from bench.report.write import context_of, terminal_table, write

__all__ = [
    "Cloud",
    "Cost",
    "Course",
    "DatasetInfo",
    "Extras",
    "Failure",
    "ImportedCell",
    "Ingredient",
    "Leak",
    "Panel",
    "Pretext",
    "Pretraining",
    "ProbeCurve",
    "Supplement",
    "context_of",
    "indexed",
    "terminal_table",
    "write",
    "write_index",
    "write_paper",
]
