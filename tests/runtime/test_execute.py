"""One job from its id to its result."""

import blobs
import pytest
from by_hand import a_job

from bench.jobs.context import RunOptions
from bench.jobs.scoring import path
from bench.runtime.execute import execute
from bench.store import Store


def test_a_description_that_does_not_belong_to_its_job_is_not_run(tmp_path):
    store = Store.open(tmp_path / "out")
    made = a_job("prepare", {"dataset": "btcv"})
    forged = a_job("prepare", {"dataset": "../../x"})
    store.write_spec(made.id, {"job": forged.plain()})
    outcome = execute(str(store.root), made.id, RunOptions())
    assert outcome.state == "failed"
    assert "job.json is not what its name says" in outcome.reason


def test_two_runs_that_ask_for_other_metrics_of_one_evaluation_both_get_them(tmp_path):
    """The first describes, the second describes the same job, and then each has it done."""
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, tmp_path)
        jobs = blobs.Jobs(tmp_path / "out", "outlined_blobs", blobs.write(tmp_path / "data", 24))
        tuned = jobs.finetune("unet3d", (16, 16, 16), steps=1, batch=2)
        for job in (jobs.prepare(), tuned):
            jobs.done(job)
        judged, out = jobs.evaluate(tuned), str(jobs.store.root)
        wishes = [jobs.scoring("dice"), jobs.scoring("iou")]
        for _ in wishes:
            jobs.describe(judged)
        for done, wish in enumerate(wishes, 1):  # the second finds it published and its description cleared
            assert execute(out, judged.id, jobs.options(wish)).state == "done"
            assert [path(jobs.store, judged.id, w).exists() for w in wishes] == [True, done == 2]
        assert jobs.store.manifest(judged.id)["attempts"] == 1
