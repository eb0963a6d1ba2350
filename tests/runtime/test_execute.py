"""One job from its id to its result."""

from dataclasses import replace

import blobs
import pytest
from by_hand import a_job

from bench.jobs.context import RunOptions
from bench.jobs.scoring import path
from bench.runtime.execute import execute
from bench.runtime.sources import changed, note, sources
from bench.store import Store


def test_a_description_that_does_not_belong_to_its_job_is_not_run(tmp_path):
    store = Store.open(tmp_path / "out")
    made = a_job("prepare", {"dataset": "btcv"})
    forged = a_job("prepare", {"dataset": "../../x"})
    store.write_spec(made.id, {"job": forged.plain()})
    outcome = execute(str(store.root), made.id, RunOptions())
    assert outcome.state == "failed"
    assert "job.json is not of the job in whose folder it lies" in outcome.reason


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
        # the second finds it published and its description cleared
        for done, wish in enumerate(wishes, 1):
            assert execute(out, judged.id, jobs.options(wish)).state == "done"
            assert [path(jobs.store, judged.id, w).exists() for w in wishes] == [True, done == 2]
        assert jobs.store.manifest(judged.id)["attempts"] == 1


@pytest.mark.parametrize("keep", [True, False])
def test_what_other_source_left_unfinished_is_begun_anew_or_gone_on_with_where_asked(
    tmp_path, keep
):
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, tmp_path)
        jobs = blobs.Jobs(tmp_path / "out", "outlined_blobs", blobs.write(tmp_path / "data", 24))
        tuned = jobs.finetune("unet3d", (16, 16, 16), steps=4, batch=2)
        store, other = jobs.store, "bench/jobs/finetune/run.py"
        jobs.done(jobs.prepare())
        options = replace(jobs.options(), keep_unfinished=keep)
        asked = iter([False, False, True, False, True])

        def attempt():
            jobs.describe(tuned)
            return execute(str(store.root), tuned.id, options, lambda: next(asked, False))

        assert attempt().reason == "stopped after step 3 of 4"
        claim = store.claim(tuned.id)
        store.begin(claim, note({**sources(tuned.plain()), other: "0 0"}, ()))
        store.release(claim)
        assert attempt().state == ("done" if keep else "stopped")  # which step is its first?
        log = (store.jobs if keep else store.work) / tuned.id / "log.txt"
        words = f"another version of {other} left"
        expected = f"continues what {words}" if keep else f"{words} this job unfinished: it starts"
        assert expected in log.read_text()
        assert keep or attempt().state == "done"
        manifest = store.manifest(tuned.id)
        assert changed(manifest) == ((other,) if keep else ())
