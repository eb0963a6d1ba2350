"""How jobs become arrays."""

from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import a_plan, of

from bench.executors.slurm import arrays
from bench.executors.slurm.profile import Profile, Shape


def test_a_fine_tuning_takes_its_evaluations_along_and_where_it_is_done_they_run_alone():
    plan = a_plan()
    cells = arrays.units(plan.jobs, list(plan.jobs))["cell"]
    assert [tuned for tuned, _ in cells] == of(plan, "finetune")
    assert all(plan.jobs[scored].needs[0] == tuned for tuned, scored in cells)
    todo = of(plan, "evaluate")
    assert arrays.units(plan.jobs, todo)["cell"] == [(job,) for job in todo]


@settings(deadline=None)
@given(
    count=st.integers(1, 60), pack=st.integers(1, 9), limit=st.integers(1, 9), shapes=st.integers(1, 3),
    waits=st.integers(1, 30),
)  # fmt: skip
def test_arrays_hold_every_unit_once_within_the_limits_behind_all_it_waits_for(
    count, pack, limit, shapes, waits
):
    found = [(str(n),) for n in range(count)]

    def shape(unit):
        return Shape(1 + int(unit[0]) % shapes)

    def after(unit):
        return (f"task {int(unit[0]) % waits:02}",)

    def made(most):
        site = Profile(pack=pack, max_array_size=most)
        return list(arrays.arrays("cell", found, shape, after, site))

    whole, split = made(1000), made(limit)
    assert [(a.shape, a.after, p) for a in split for p in a.packs] == [
        (a.shape, a.after, p) for a in whole for p in a.packs
    ]
    assert all(len(a.packs) <= limit for a in split)
    assert len(whole) <= shapes * arrays.CALLS["cell"]  # of sbatch, which sites count
    assert sorted((job for a in whole for p in a.packs for job in p), key=int) == [u[0] for u in found]
    for array in whole:
        waited = [{after((job,)) for job in one} for one in array.packs]
        assert all(len(one) == 1 for one in waited)  # no pack waits for two
        assert array.after == tuple(sorted(task for (task,) in set().union(*waited)))
        assert waits > arrays.CALLS["cell"] or len(array.after) == 1  # for its own alone
        assert all(len(one) <= pack for one in array.packs)
        assert {shape((job,)) for one in array.packs for job in one} == {array.shape}


def test_pretrainings_are_never_packed():
    made = arrays.arrays("pretrain", [("a",), ("b",)], lambda u: Shape(), lambda u: (), Profile(pack=9))
    assert next(iter(made)).packs == (("a",), ("b",))
