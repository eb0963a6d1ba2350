"""One job from its id to its result."""

from bench.job import Job
from bench.jobs.execute import execute
from bench.store import Store


def test_a_description_that_does_not_belong_to_its_job_is_not_run(tmp_path):
    store = Store.open(tmp_path / "out")
    job = Job("prepare", {"dataset": "btcv"})
    forged = {"kind": "prepare", "spec": {"dataset": "../../x"}, "needs": []}
    store.write_spec(job.id, {"job": forged, "run": {"threads": 1}})
    outcome = execute(str(store.root), job.id)
    assert outcome.state == "failed"
    assert "job.json is not what its name says" in outcome.reason
    assert "not what its name says" in store.failure(job.id)["reason"]
