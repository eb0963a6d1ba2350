"""Tables, figures and a page, drawn from rows alone. Never imports torch."""

from bench.report.index import indexed
from bench.report.index import write as write_index
from bench.report.supplement import (
    Beside,
    Cloud,
    Cost,
    Course,
    DatasetInfo,
    Extras,
    Failure,
    Ingredient,
    Leak,
    Panel,
    Pretext,
    Pretraining,
    ReportPaths,
    Taken,
)
from bench.report.write import scene_of, terminal_table, write

__all__ = [
    "Beside",
    "Cloud",
    "Cost",
    "Course",
    "DatasetInfo",
    "Extras",
    "Failure",
    "Ingredient",
    "Leak",
    "Panel",
    "Pretext",
    "Pretraining",
    "ReportPaths",
    "Taken",
    "indexed",
    "scene_of",
    "terminal_table",
    "write",
    "write_index",
]
