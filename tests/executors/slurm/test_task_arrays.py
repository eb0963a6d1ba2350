"""How jobs become arrays."""

from hypothesis import given
from hypothesis import strategies as st
from in_memory import a_plan, of

from bench.executors.slurm import arrays
from bench.executors.slurm.profile import Profile, Shape


def test_a_fine_tuning_takes_its_evaluations_along():
    plan = a_plan()
    cells = arrays.units(plan.jobs, list(plan.jobs))["cell"]
    assert len(cells) == 4
    for tuned, scored in cells:
        assert plan.jobs[scored].needs[0] == tuned


def test_an_evaluation_whose_fine_tuning_is_done_runs_alone():
    plan = a_plan()
    todo = of(plan, "evaluate")
    assert arrays.units(plan.jobs, todo)["cell"] == [(job,) for job in todo]


@given(
    count=st.integers(1, 60), pack=st.integers(1, 9), limit=st.integers(1, 9),
    shapes=st.integers(1, 3), waits=st.integers(1, 3),
)  # fmt: skip
def test_arrays_hold_every_unit_once_within_the_limits(count, pack, limit, shapes, waits):
    found = [(str(n),) for n in range(count)]

    def shape(unit):
        return Shape(1 + int(unit[0]) % shapes)

    def after(unit):
        return (str(int(unit[0]) % waits),)

    site = Profile(pack=pack, max_array_size=limit)
    made = list(arrays.arrays("cell", found, shape, after, site))
    jobs = [job for array in made for p in array.packs for job in p]
    assert sorted(jobs, key=int) == [u[0] for u in found]
    assert all(len(a.packs) <= limit and all(len(p) <= pack for p in a.packs) for a in made)
    for array in made:
        for job in (job for p in array.packs for job in p):
            assert (shape((job,)), after((job,))) == (array.shape, array.after)


def test_many_pretrainings_make_few_calls_and_every_cell_waits_for_its_own():
    found = [(str(n),) for n in range(1000)]

    def after(unit):
        return (f"task {int(unit[0]) // 10:03}",)

    made = list(arrays.arrays("cell", found, lambda u: Shape(), after, Profile(pack=3)))
    assert len(made) <= arrays.CALLS["cell"]
    assert [job for a in made for p in a.packs for job in p] == [u[0] for u in found]
    for array in made:
        assert array.after == tuple(sorted({after((j,))[0] for p in array.packs for j in p}))
        assert all(len({after((j,)) for j in p}) == 1 for p in array.packs)  # no pack waits for two


def test_pretrainings_are_never_packed():
    made = arrays.arrays("pretrain", [("a",), ("b",)], lambda u: Shape(), lambda u: (), Profile(pack=9))
    assert next(iter(made)).packs == (("a",), ("b",))
