"""Records that nobody ran: one row with every column, and rows for the cells of a plan."""

from itertools import product

from small_protocol import TEST

from bench import record

BLANK = {name: "" if kind == "str" else 0 for name, kind in record.COLUMNS.items()}


def row_of(**given):
    """Return one record, a Dice of 0.5 of a liver at 100 % of the labels, with ``given`` over it."""
    base = {**BLANK, "job": "0" * 16, "scale": "pilot", "row": "a", "method": "scratch"}
    base |= {"network": "net", "params": "{}", "pretrain": "none", "init": "random"}
    base |= {"evaluation": "end_to_end", "dataset": "organs", "section": "organs", "n_train": 20}
    base |= {"task": "segmentation", "split": "even", "split_hash": "5p1it", "fraction": 100}
    base |= {"case": "c1", "patient": "p1", "target": "liver", "metric": "dice", "value": 0.5}
    return {**base, "unit": "1", "convention": "medpy", "status": "ok", **given}


def scored(cells, name, value):
    """Return the records of cells on the test patients; ``value``: of a cell and a patient's number."""
    every = product(cells, enumerate(TEST), ("anterior", "posterior"))
    rows = []
    for cell, (number, patient), target in every:
        row = {**cell.columns, "job": cell.evaluate, "protocol": name, "target": target}
        row |= {"case": patient, "patient": patient, "value": value(cell, number)}
        rows.append(row_of(**row))
    return record.frame(rows)
