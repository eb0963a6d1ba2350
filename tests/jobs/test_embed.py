"""What the picture of embeddings is made of: the job, its layouts, the same samples for every encoder."""

import json

import numpy as np
import pytest
from by_hand import a_job

from bench.jobs.embed import run as embed

NET = {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16], "version": 1, "in_channels": 1}


def job_of(jobs, **changes):
    data = {"dataset": jobs.name, "part": "all"}
    spec = {"network": NET, "init": "random", "data": [data], "samples": 7, "seed": 0, **changes}
    jobs.done(jobs.prepare())
    return a_job("embed", spec, (jobs.prepare().id,))


def test_it_leaves_places_names_and_how_they_spread(jobs):
    folder = jobs.done(job_of(jobs))
    with np.load(folder / embed.FILE) as arrays:
        assert arrays["tsne"].shape == arrays["pca"].shape == (7, 2)
        assert arrays["tsne"].dtype == arrays["pca"].dtype == np.float32
        assert arrays["group"].tolist() == [0] * 7
        assert np.isfinite(arrays["tsne"]).all() and len(np.unique(arrays["pca"][:, 0])) == 7
    names = json.loads((folder / embed.NAMES).read_text())
    assert names["groups"] == [jobs.name]
    assert [c[:7] for c in names["cases"]] == [f"case00{n}" for n in (0, 0, 1, 2, 2, 3, 4)]
    assert names["std"] > 0 and 1 <= names["rank"] <= 6


def test_every_encoder_sees_the_same_samples(jobs, monkeypatch):
    seen = []
    real = embed.embedded
    monkeypatch.setattr(embed, "embedded", lambda encoder, x: seen.append(x) or real(encoder, x))
    jobs.done(job_of(jobs))
    jobs.done(job_of(jobs, network={**NET, "network": "unetr", "crop": [16, 16, 16]}))
    assert len(seen) == 2 and bool((seen[0] == seen[1]).all())


def test_stopped_it_says_so_and_begins_again(jobs, monkeypatch):
    monkeypatch.setattr(embed, "BATCH", 3)
    job = job_of(jobs)
    stopped = jobs.do(job, stopping=lambda: True)
    assert stopped.state == "stopped" and "after sample 3" in stopped.reason
    jobs.done(job)


def test_components_are_the_directions_of_most_variance():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 3)) * [1, 5, 0.1]
    found = embed.pca(z)
    assert found.var(axis=0) == pytest.approx([z[:, 1].var(), z[:, 0].var()], rel=0.1)
    np.testing.assert_array_equal(found, embed.pca(z))


def test_few_samples_and_equal_ones_are_laid_out_too():
    for rows in (1, 2, 3):
        found = embed.tsne(np.random.default_rng(0).normal(size=(rows, 5)), 0)
        assert found.shape == (rows, 2) and np.isfinite(found).all()
    assert not embed.tsne(np.ones((20, 5)), 0).any()


def test_neighbours_stay_neighbours():
    rng = np.random.default_rng(0)
    two = np.repeat([0, 1], 20)
    z = rng.normal(size=(40, 8)) + 20 * two[:, None]
    found = embed.tsne(z, 0)
    near = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.diag([np.inf] * 40)
    assert (two[near.argmin(1)] == two).all()
    np.testing.assert_array_equal(found, embed.tsne(z, 0))
