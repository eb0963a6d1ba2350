"""The leak guard's job: by patient, by content, what it says, and what is then left out."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from by_hand import a_job
from small_prepared import write_prepared

from bench.data.parts import Entry, Take
from bench.data.prepared import opened
from bench.jobs.context import RunOptions
from bench.jobs.guard import run as guarding
from bench.jobs.guard import spec as guard
from bench.jobs.inputs import mixed
from bench.leaks import duplicates, search
from bench.leaks.duplicates import Match
from bench.leaks.fingerprint import fingerprint
from bench.leaks.search import Sight
from bench.phantoms.organs import organs
from bench.runtime.execute import execute
from bench.store import Store

PEOPLE = {"msd04_hippocampus": "hippocampus_{:03d}", "lits": "volume-{}", "msd03_liver": "liver_{}"}


def prepared(store, name, numbers, prints):
    """Publish a data set of two voxels a case whose fingerprints are numbers; return its job's id."""
    made = a_job("prepare", {"dataset": name, "contents": f"{numbers}"})
    folder = store.jobs / made.id
    folder.mkdir()
    cases = {}
    for number, value in zip(numbers, prints, strict=True):
        found = value if isinstance(value, np.ndarray) else np.full((1, 2, 2, 2), value, np.uint8)
        label, image = np.ones((2, 1, 1), np.uint8), np.zeros((1, 2, 1, 1), np.int16)
        frames = {"image": image, "fingerprint": found, "label": label, "native": label}
        cases[PEOPLE[name].format(number)] = frames
    write_prepared(folder, cases)
    (folder / "manifest.json").write_text(json.dumps(made.plain()))
    return made.id


def compared(read, tests, **given):
    """Return a guard of all of some data sets, (name, job), against one fold of others, (name, job, fold)."""
    data = [{"dataset": name, "part": "all", **given} for name, _ in read]
    part = {"part": "test", "split": "leave_one_out"}
    parts = [{"dataset": name, "fold": fold, **part} for name, _, fold in tests]
    spec = {"data": data, "tests": parts, "seed": 0}
    return a_job("guard", spec, tuple(job for _, job, *_ in (*read, *tests)))


def perform(store, made, loaders=0, stopping=lambda: False):
    store.write_spec(made.id, {"job": made.plain()})
    return execute(str(store.root), made.id, RunOptions(loaders=loaders), stopping)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


@pytest.fixture(params=["few", "many", "very many"])
def watch(store, monkeypatch, request):
    """Return a function that runs a guard and returns (outcome, what it found)."""
    if request.param != "few":
        monkeypatch.setattr(search, "EXACT", 0)
    if request.param == "very many":
        monkeypatch.setattr(search, "AT_ONCE", 1)  # one test case after the other

    def seen(first, second, rows):
        return [Sight(*row, 1.0) for row in rows.tolist()]

    monkeypatch.setattr(search, "looked_at", seen)

    def every(first, second):
        pairs = product(enumerate(first), enumerate(second))
        return [Match(a, b, 0.9) for (a, x), (b, y) in pairs if (x == y).all()]

    def alike(ones, two):
        return [0.9 if (one.volume == two.volume).all() else -1 for one in ones]

    monkeypatch.setattr(search, "compared", alike)
    monkeypatch.setattr(duplicates, "matches", every)

    def run(read, tests, policy="tell", **given):
        made = compared(read, tests, **given)
        outcome = perform(store, made)
        if policy == "fail":
            assert outcome.state == "done"  # what is found is kept for any other policy
            made = a_job("guard", {"leaks": "fail"}, (made.id,))
            outcome = perform(store, made)
        return outcome, guard.read(store.jobs / made.id) if store.done(made.id) else None

    return run


def test_a_test_patient_is_found_by_name_whatever_the_voxels(store, watch):
    one = ("msd04_hippocampus", prepared(store, "msd04_hippocampus", (1, 2, 3), (1, 2, 3)))
    outcome, found = watch([one], [(*one, 1)])
    assert outcome.state == "done" and found.read == 3 and found.tests == {"msd04_hippocampus": 1}
    (leak,) = found.leaks
    assert leak.case == leak.test_case == "hippocampus_002" and leak.why == "patient"


@pytest.mark.parametrize("excluded", [(), ("volume-3",)])  # is not read, and not looked for
def test_a_scan_under_another_name_is_found_by_content(store, watch, excluded):
    read = ("lits", prepared(store, "lits", (1, 2, 3, 4), (1, 2, 3, 4)))
    test = ("msd04_hippocampus", prepared(store, "msd04_hippocampus", (1, 2), (3, 9)), 0)
    _, found = watch([read], [test], only={"exclude": list(excluded)})
    leak = ("lits volume-3 = msd04_hippocampus hippocampus_001 (content)", 0.9)
    assert [(str(k), k.score) for k in found.leaks] == ([] if excluded else [leak])


def test_data_sets_that_share_patients_know_each_others_numbers(store, watch):
    read = ("msd03_liver", prepared(store, "msd03_liver", (3, 12), (1, 2)))
    _, found = watch([read], [("lits", prepared(store, "lits", (12, 13), (3, 4)), 0)])
    (leak,) = found.leaks
    assert (leak.case, leak.test_case, leak.why) == ("liver_12", "volume-12", "patient")


def test_fail_names_some_and_says_what_to_do(store, watch):
    read = ("lits", prepared(store, "lits", (1, 2, 3, 4, 5), (1, 1, 1, 1, 1)))
    test = ("msd04_hippocampus", prepared(store, "msd04_hippocampus", (1, 2), (1, 2)), 0)
    outcome, found = watch([read], [test], "fail")
    assert outcome.state == "failed" and found is None
    said = "leak: 5 case(s) of the pretraining are also in a downstream test part: lits"
    assert outcome.reason.startswith(said)
    assert outcome.reason.count("(content)") == 3 and "leaks: drop" in outcome.reason
    outcome, _ = watch([("lits", prepared(store, "lits", (9, 10), (7, 8)))], [test], "fail")
    assert outcome.state == "done"


def test_a_mixture_is_read_as_the_plan_counted_it(store):
    names = ("lits", "msd03_liver")
    sets = [opened(store.jobs / prepared(store, n, range(1, 11), range(10))) for n in names]
    lits, liver = (Entry(dataset=name, part="all") for name in names)
    data = [replace(lits, take="50 %"), liver]
    found = mixed(sets, data, Take("4 cases", "m"), 0, {})
    assert len(found) == 4 and {i for i, _ in found} <= {0, 1}
    whole = mixed(sets, data, Take(), 0, {})
    assert [i for i, _ in whole] == [0] * 5 + [1] * 10
    assert {(i, c.id) for i, c in found} <= {(i, c.id) for i, c in whole}


@pytest.mark.parametrize(
    ("loaders", "exact", "step"), [(0, 0, "screen"), (2, 10, "compare"), (0, 10, "compare")]
)
def test_a_stopped_comparison_goes_on_where_it_was(store, monkeypatch, loaders, exact, step):
    monkeypatch.setattr(guarding, "TOGETHER", 2)
    monkeypatch.setattr(search, "EXACT", exact)
    scans = [organs((28, 26, 20), (12.0, 12.0, 16.0), 4, 0, i)[0] for i in range(5)]
    prints = [fingerprint(scan[None]) for scan in scans]
    read = prepared(store, "lits", range(5), prints)
    test = prepared(store, "msd04_hippocampus", (1, 2), [prints[3], prints[3]])
    made = compared([("lits", read)], [("msd04_hippocampus", test, 0)])
    assert perform(store, made, loaders, lambda: True).state == "stopped"
    before = {p.relative_to(store.work / made.id) for p in (store.work / made.id).rglob("kept-*")}
    assert [p.parent.name for p in before] == [step]
    assert perform(store, made, loaders).state == "done"
    found = guard.read(store.jobs / made.id)
    assert [(k.case, k.test_case) for k in found.leaks] == [("volume-3", "hippocampus_001")]
    assert found.leaks[0].score > 0.9 and guard.seen(store.jobs / made.id) == {("lits", "volume-3")}
