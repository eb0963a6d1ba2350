"""How jobs become arrays."""

from pathlib import Path

import pytest
from by_hand import LEAST, NET, PART, a_job
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import Site, a_plan, control, of, publish

from bench import run
from bench.executors.slurm import arrays
from bench.executors.slurm.profile import Profile, Shape
from bench.plan import Plan
from bench.protocol.named import SHIPPED
from bench.store import Store

PROTOCOLS = [
    p for p in sorted((SHIPPED / "protocols").rglob("*.yaml")) if "settings" not in p.parts
]


def test_a_fine_tuning_takes_its_evaluations_along_and_where_it_is_done_they_run_alone():
    plan = a_plan()
    cells = dict(arrays.units(plan.jobs, plan.before, list(plan.jobs)))["cell"]
    assert [tuned for tuned, _ in cells] == of(plan, "finetune")
    assert all(plan.jobs[scored].needs[0] == tuned for tuned, scored in cells)
    todo = of(plan, "evaluate")
    assert list(arrays.units(plan.jobs, plan.before, todo)) == [("cell", [(job,) for job in todo])]


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_job_of_our_protocols_can_start_before_what_it_needs(path, site, store):
    """With the command gone, SLURM starts a task as soon as its ``--dependency`` has ended."""
    request = run.Request((path,), Path("nowhere"), scale="smoke")
    plan = run.make_plan(request, request.read(), need_data=False)
    controller, _ = control(plan, store, pack=3, max_array_size=20)
    controller.step()
    assert sorted(job for pack in site.packs() for job in pack) == sorted(plan.jobs)
    assert site.unmet(plan, ()) == []


@st.composite
def plans(draw):
    """Return jobs of any kind that need any others, or wait for them as for guards; and which are done."""
    plan = Plan()
    kinds = draw(st.lists(st.sampled_from(list(LEAST)), min_size=1, max_size=25))
    for number, kind in enumerate(kinds):
        earlier, tuned = list(plan.jobs), of(plan, "finetune")
        some = st.lists(st.sampled_from(earlier), max_size=3) if earlier else st.just([])
        needs = draw(some)
        if kind == "evaluate":  # names its fine-tuning first
            if not tuned:
                continue
            needs = [draw(st.sampled_from(tuned)), *needs]
        different = {
            "prepare": {"dataset": f"d{number}"},
            "latency": {"network": {**NET, "out_channels": number + 1}},
            "evaluate": {"data": {**PART, "dataset": f"d{number}"}},
        }.get(kind, {"seed": number})
        job = plan.add(a_job(kind, different, dict.fromkeys(needs)))
        for guard in draw(some):
            plan.wait(job, guard)
        plan.threads[job] = draw(st.integers(1, 2))  # another shape of task
    done = set()
    for job in plan.jobs:
        if done.issuperset(plan.before(job)) and draw(st.booleans()):
            done.add(job)
    return plan, done


@settings(deadline=None)
@given(made=plans(), pack=st.integers(1, 4), limit=st.integers(1, 4), gpus=st.integers(0, 1))
def test_no_job_of_any_plan_can_start_before_what_it_needs(
    made, pack, limit, gpus, tmp_path_factory
):
    plan, done = made
    store = Store.open(tmp_path_factory.mktemp("plan") / "out")
    publish(store, *done)
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = Site().installed(monkeypatch)
        control(plan, store, pack=pack, max_array_size=limit, gpus=gpus)[0].step()
    assert sorted(job for each in site.packs() for job in each) == sorted(plan.jobs.keys() - done)
    assert site.unmet(plan, done) == []
    assert all(len(packs) <= limit for _, packs in site.arrays)


@settings(deadline=None)
@given(*(st.integers(1, most) for most in (60, 9, 9, 3, 30)))
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
    packs = [[(a.shape, a.after, p) for a in parts for p in a.packs] for parts in (whole, split)]
    assert packs[0] == packs[1]
    assert all(len(a.packs) <= limit for a in split)
    assert len(whole) <= shapes * arrays.CALLS["cell"]  # of sbatch, which sites count
    assert sorted(((job,) for _, _, p in packs[0] for job in p), key=lambda u: int(u[0])) == found
    for array in whole:
        waited = [{after((job,)) for job in one} for one in array.packs]
        assert all(len(one) == 1 for one in waited)  # no pack waits for two
        assert array.after == tuple(sorted(task for (task,) in set().union(*waited)))
        assert waits > arrays.CALLS["cell"] or len(array.after) == 1  # for its own alone
        assert all(len(one) <= pack for one in array.packs)
        assert {shape((job,)) for one in array.packs for job in one} == {array.shape}


def test_pretrainings_are_never_packed():
    units, site = [("a",), ("b",)], Profile(pack=9)
    (array,) = arrays.arrays("pretrain", units, lambda u: Shape(), lambda u: (), site)
    assert array.packs == (("a",), ("b",))
