"""Taking back what an output folder has in the queue."""

import pytest
from in_memory import a_plan, control

from bench.errors import BenchError
from bench.executors.slurm import cancel as cancelling
from bench.executors.slurm import squeue, submission


def test_cancelling_takes_whole_arrays_out_and_tells_the_runs(site, store, monkeypatch):
    controller, _ = control(a_plan(pretrains=2), store)
    controller.step()
    monkeypatch.setattr(cancelling, "BETWEEN", 0.0)
    monkeypatch.setattr(squeue, "require", lambda: None)
    asked = []

    def cancel(ids):
        asked.extend(ids)
        for id in [i for i in site.tasks if i.split("_")[0] in ids]:
            site.leave(id)

    monkeypatch.setattr(squeue, "cancel", cancel)
    count = len(site.tasks)
    assert cancelling.cancel(store) == count
    assert sorted(asked) == sorted({i.split("_")[0] for i in site.tasks})
    assert (controller.folder / submission.CANCELLED).exists()
    assert cancelling.cancel(store) == 0


def test_tasks_that_stay_in_the_queue_are_no_success(site, store, monkeypatch):
    controller, _ = control(a_plan(), store)
    controller.step()
    for name in ("require", "cancel"):
        monkeypatch.setattr(squeue, name, lambda *given: None)
    monkeypatch.setattr(cancelling, "BETWEEN", 0.0)
    with pytest.raises(BenchError, match="still in the queue"):
        cancelling.cancel(store)
