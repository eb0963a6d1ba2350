"""What a report says of pretrainings, from job folders to the page, and from the records alone."""

import io
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_protocol import NAME

from bench import registry, typed
from bench.errors import BenchError
from bench.pretext.collapse import FALLEN, LEAST_STD, LINE, NOISE_RANK, POINT
from bench.protocol import Row
from bench.report.pretrainings import NOTE
from bench.report.supplement import Pretext, Supplement
from bench.show import pretrainings
from bench.show.reports import rewrite_report, write_reports

FIGURE = {"term": "retrieval", "says": "positives found first", "chance": "guess", "rises": True}


def beside(made):
    found = pretrainings.figures_and_clouds(made.protocol, made.plan, made.store, {})
    return dict(zip(("pretexts", "clouds", "absent"), found, strict=True))


def records_of(made):
    return made.store.root / "records" / f"{made.protocol.name}.json"


def told(made):
    """Return what a report says, through JSON as the records keep it."""
    return vars(
        typed.read(Supplement, json.dumps(typed.plain(Supplement(**beside(made)))).encode())
    )


def test_a_pretraining_is_told_once_with_its_means_its_chance_and_its_spread(finished):
    (one,) = told(finished())["pretexts"]
    assert (one.row, one.shared) == ("pair", ("again",))
    assert (one.says, one.rises) == ("positives found first", True)
    assert one.first == pytest.approx(0.01)  # the first of 100 points
    assert one.last == pytest.approx(np.mean(np.arange(91, 101)) / 100)  # the last ten
    assert one.chance == pytest.approx(0.25)
    assert (one.std, one.rank, one.collapsed) == ((0.5, 0.3), (4.0, 8.0), False)
    assert one.steps[0] == 1 and one.steps[-1] == 100 and len(one.values) == len(one.chances) == 100


@pytest.mark.parametrize(
    ("params", "last", "untrained"),
    [
        ({"image_weight": 0.0}, 0.1, True),
        ({"task_weight": 0.0}, 0.1, False),
        ({"image_weight": 0.0}, 0.9, False),
    ],
)
def test_a_row_whose_loss_leaves_out_the_figures_task_is_not_said_to_guess(params, last, untrained):
    """Told from the records alone, which only have the figure."""
    protocol = SimpleNamespace(rows={"b": Row("hssl", "net", params=params)})
    facts = Supplement(pretexts=(Pretext("b", "views", last=last, chance=0.2),))
    (one,) = pretrainings.marked_untrained(protocol, facts)
    assert one.untrained is untrained and one.guesses is (not untrained and last < 0.2)
    assert hasattr(registry.load("method", "hssl").Params, "image_weight")


def test_a_long_curve_is_averaged_to_few_points_and_its_means_are_of_all(made):
    long = pd.DataFrame({"step": np.arange(1000), "retrieval": np.arange(1000.0), "guess": 1.0})
    long.to_csv(made.folder("pretrain") / "curve.csv", index=False)
    (one,) = told(made)["pretexts"]
    assert (one.first, one.last) == (4.5, 949.5)
    assert len(one.steps) == 200 and one.values[:2] == (2, 7) and one.steps[0] == 2


def test_steps_at_which_guessing_gets_all_tell_nothing_until_the_first_at_which_it_does_not(made):
    first_queue = pd.DataFrame(
        {"step": [1, 2, 3, 4], "retrieval": [1.0, 1, 0.25, 0.5], "guess": [1.0, 1, 0.5, 1]}
    )
    first_queue.to_csv(made.folder("pretrain") / "curve.csv", index=False)
    (one,) = told(made)["pretexts"]
    assert (one.first, one.last, one.steps, one.chances) == (0.25, 0.5, (3, 4), (0.5, 1))


COLLAPSES = [
    (0.04, 8, 0.5, True),
    (0.06, 8, 0.5, False),
    (0.04, 4, 0.5, False),
    (0.5, 3, 0.95, True),
]


def test_a_collapse_is_told_and_the_note_states_its_rule(made):
    for std, rank, share, fell in COLLAPSES:
        looks = {
            "step": [0, 100],
            "std": [0.5, std],
            "rank": [8, rank],
            "leading": share,
            "most": 9,
        }
        pd.DataFrame(looks).to_csv(made.folder("pretrain") / "embeddings.csv", index=False)
        assert told(made)["pretexts"][0].collapsed is fell
    assert (FALLEN, LEAST_STD, NOISE_RANK, POINT, LINE) == (0.1, 0.02, 0.5, 1e-3, 0.9)
    limits = ("a tenth", "below 0.02", "above half of the highest", "below 0.001", "More than 90 %")
    assert all(limit in NOTE for limit in limits)


def test_the_curve_of_an_online_probe_is_told_with_what_it_read(made):
    looks = {"step": [0, 50, 100], "dice": [0.1, 0.2, 0.4]}
    pd.DataFrame(looks).to_csv(made.folder("pretrain") / "probe.csv", index=False)
    assert told(made)["pretexts"][0].probe is None
    assert "probe" not in typed.plain(told(made)["pretexts"][0])  # records stay as they were
    made.again("pretrain", online_probe={"dataset": NAME, "metric": "dice", "patients": 8})
    curve = told(made)["pretexts"][0].probe
    assert (curve.dataset, curve.metric, curve.patients, curve.scored) == (NAME, "dice", 8, 4)
    assert (curve.steps, curve.values) == ((0, 50, 100), (0.1, 0.2, 0.4))


def test_what_is_not_there_is_left_out(made):
    (made.folder("pretrain") / "embeddings.csv").unlink()
    (one,) = told(made)["pretexts"]
    assert one.std is one.rank is None and not one.collapsed and one.last is not None
    (made.folder("pretrain") / "curve.csv").unlink()
    assert told(made)["pretexts"] == ()
    made.again("pretrain", figure=None)
    assert told(made)["pretexts"] == ()


@pytest.mark.usefixtures("undrawn")
def test_a_figure_without_chance_and_numbers_that_are_none(made):
    made.again("pretrain", figure={"term": "total", "says": "loss", "chance": "", "rises": False})
    table = pd.DataFrame({"step": [1, 2, 3, 4], "total": [3.0, np.nan, np.inf, 1e300]})
    table.to_csv(made.folder("pretrain") / "curve.csv", index=False)
    (one,) = told(made)["pretexts"]
    assert (one.first, one.last, one.chance, one.rises, one.steps) == (3, 3, None, False, (1,))
    table.assign(total=np.nan).to_csv(made.folder("pretrain") / "curve.csv", index=False)
    (one,) = told(made)["pretexts"]
    assert one.first is one.last is None and one.steps == ()
    (shown,) = write_reports([made.protocol], made.plan, made.store)
    assert "loss (lower is better)" in shown.page.read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_curve_without_a_term_of_its_figure_is_told_in_the_row_and_the_page_is_drawn(made):
    for lacking in ("retrieval", "guess"):
        columns = {
            "step": [1, 2],
            "total": [3.0, 2.0],
            "retrieval": [0.1, 0.2],
            "guess": [0.5, 0.5],
        }
        table = pd.DataFrame({k: v for k, v in columns.items() if k != lacking})
        table.to_csv(made.folder("pretrain") / "curve.csv", index=False)
        (one,) = told(made)["pretexts"]
        assert (one.lacks, one.first, one.last, one.steps) == (lacking, None, None, ())
        (shown,) = write_reports([made.protocol], made.plan, made.store)
        text = (shown.page.parent / "table.md").read_text()
        assert f"its curve has no column '{lacking}'" in text


# Clouds


def test_every_encoder_has_one_panel_and_the_lacking_file_a_line(finished):
    found = told(finished())
    assert len(found["clouds"]) == 2  # "again" starts from what "pair" starts from
    assert found["absent"] == (
        "The panel of VGG-19 (ImageNet) is left out: there is no file vgg19.pth.",
    )
    for cloud in found["clouds"]:
        assert (cloud.groups, cloud.how) == ((NAME,), "t-SNE")
        assert (cloud.std, cloud.rank, len(cloud.points)) == (0.25, 3.5, 12)
        assert np.abs(np.array(cloud.points)).max() == pytest.approx(1, abs=1e-4)
        assert np.min(cloud.points, 0) + np.max(cloud.points, 0) == pytest.approx([0, 0], abs=2e-4)


def test_a_network_beside_the_rows_stands_first(finished):
    found = told(finished(weights=True))
    assert found["clouds"][0].title == "VGG-19 (ImageNet)" and len(found["clouds"]) == 3
    assert found["absent"] == ()


def test_a_panel_whose_job_failed_is_told(made):
    folder = made.folder("embed")
    shutil.rmtree(folder)
    (made.store.work / folder.name).mkdir(parents=True, exist_ok=True)
    why = {"reason": "out of memory", "kind": "memory", "log": "log.txt", "attempts": 1}
    (made.store.work / folder.name / "failed.json").write_text(json.dumps(why))
    found = told(made)
    assert len(found["clouds"]) == 1
    assert any("is left out: its job failed (out of memory)." in line for line in found["absent"])


def test_the_protocol_chooses_the_layout(made):
    points = np.random.default_rng(0).random((12, 2), np.float32)
    for number in range(2):
        file = made.folder("embed", number) / "embeddings.npz"
        np.savez(file, tsne=points, pca=points[:, ::-1] * 3, group=np.zeros(12, np.int64))
    by = {}
    for layout in ("tsne", "pca"):
        embeddings = replace(made.protocol.embeddings, layout=layout)
        made.protocol = replace(made.protocol, embeddings=embeddings)
        by[layout] = beside(made)["clouds"][0]
    assert (by["tsne"].how, by["pca"].how) == ("t-SNE", "PCA")
    np.testing.assert_allclose(by["tsne"].points, np.array(by["pca"].points)[:, ::-1], atol=1e-3)


def test_one_point_many_times_is_a_cloud_too_and_t_sne_that_fell_back_is_called_pca(made):
    alike = np.zeros((12, 2), np.float32)
    file = made.folder("embed") / "embeddings.npz"
    np.savez(file, tsne=alike, pca=alike, group=np.zeros(12, np.int64))
    assert sorted(c.how for c in told(made)["clouds"]) == ["PCA", "t-SNE"]
    list(write_reports([made.protocol], made.plan, made.store))
    assert (made.store.root / "reports" / made.protocol.name / "embeddings.png").exists()


# What is damaged

FLAT = np.zeros((3, 2), np.float32)
GOOD = {"tsne": FLAT, "pca": FLAT + 1, "group": np.zeros(3, int)}
LAYOUTS = (
    {"tsne": np.zeros((3, 3), np.float32)},
    {"tsne": np.zeros(3, np.float32)},
    {"tsne": np.full((3, 2), np.nan, np.float32)},
    {"tsne": np.full((3, 2), 1e300)},
    {"tsne": np.zeros((3, 2), "U4")},
    {"tsne": np.zeros((0, 2), np.float32), "group": np.zeros(0, int)},
    {"group": np.zeros(2, int)},
    {"group": np.ones(3, int)},
    {"group": -np.ones(3, int)},
    {"group": np.zeros(3)},
    {"group": np.zeros((3, 1), int)},
    {"tsne": None},
)


def packed(change):
    file = io.BytesIO()
    np.savez(file, **{k: v for k, v in {**GOOD, **change}.items() if v is not None})
    return file.getvalue()


CURVES = (b"", b"step,retrieval\n1,x\n", b"retrieval,guess\n1,2\n")
LOOKS = (b"\x00\xff", b"step,std\n1,2\n", b"step,std,rank\n1,a,2\n")
NAMES = (b"", b"[]", b"{}", b'{"groups": 3}', b'{"groups": ["a"], "std": "x"}', None)
FIGURES = (3, {"term": 1, "says": "x"}, {"says": "x"}, {"term": "a", "says": None})
DAMAGED = {  # kind of job, file, what it may hold instead (None: it is lost): what is said
    ("pretrain", "curve.csv", CURVES): r"curve\.csv: damaged .*; run again",
    ("pretrain", "embeddings.csv", LOOKS): r"embeddings\.csv: damaged",
    ("embed", "embeddings.npz", (*map(packed, LAYOUTS), b"PK")): r"npz: damaged .*; run again",
    ("embed", "embeddings.json", NAMES): r"embeddings\.json: damaged",
}


@pytest.mark.parametrize("where", DAMAGED, ids=lambda where: where[1])
def test_a_damaged_file_of_a_job_is_one_line(made, where):
    kind, name, contents = where
    for content in contents:
        file = made.folder(kind) / name
        file.unlink() if content is None else file.write_bytes(content)
        refused(made, DAMAGED[where] if content is not None else r"json: damaged \(it is lost\)")


def test_a_damaged_figure_is_one_line(made):
    for figure in FIGURES:
        made.again("pretrain", figure=figure)
        refused(made, r"manifest\.json: damaged \(figure")


def refused(made, match):
    with pytest.raises(BenchError, match=match) as caught:
        beside(made)
    assert "\n" not in str(caught.value)


# From the records alone


@pytest.mark.usefixtures("pdfs")
def test_a_report_is_drawn_again_without_the_job_folders(made, tmp_path):
    (first,) = write_reports([made.protocol], made.plan, made.store)
    folder = first.page.parent
    drawn = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {"pretext.png", "pretext.pdf", "embeddings.png", "embeddings.pdf"} < drawn.keys()
    shutil.rmtree(made.store.jobs)
    rewrite_report(tmp_path / "test0.yaml", None, made.store, tmp_path / "again")
    again = {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()}
    assert again.keys() == drawn.keys() and [n for n in drawn if drawn[n] != again[n]] == []
    text = drawn["table.md"].decode()
    assert "positives found first (higher is better)" in text and "0.955" in text
    assert "there is no file vgg19.pth" in text and "0.500 → 0.300" in text


@pytest.mark.usefixtures("undrawn")
def test_records_of_before_have_no_pretexts_and_draw_as_they_did(finished, tmp_path):
    made = finished({"rows": {"again": None}})
    list(write_reports([made.protocol], made.plan, made.store))
    file = records_of(made)
    later = ("pretexts", "clouds", "absent")
    content = {k: v for k, v in json.loads(file.read_text()).items() if k not in later}
    file.write_text(json.dumps(content))
    shown = rewrite_report(tmp_path / "test0.yaml", None, made.store, tmp_path / "again")
    assert "Pretraining</h2>" not in shown.page.read_text()


WRONG = (  # part of the records, values each of which is wrong alone
    (
        "pretexts",
        {"steps": [1], "chances": [1], "std": [1], "more": 1, "first": "x", "shared": [1]},
    ),
    ("clouds", {"group": [0], "groups": [], "points": [], "more": 1, "title": 3}),
    ("clouds", {"group": [-1] * 12, "points": [[1, 2, 3]] * 12}),
    ("clouds", {"points": [[1], [2, 3]]}),
    ("courses", {"steps": [1], "losses": ["x"], "more": 1}),
)


@pytest.mark.usefixtures("undrawn")
def test_damaged_records_are_one_line(made, tmp_path):
    list(write_reports([made.protocol], made.plan, made.store))
    file = records_of(made)
    good = json.loads(file.read_text())
    changes = [(part, {key: value}) for part, values in WRONG for key, value in values.items()]
    damaged = [{**good, part: [{**good[part][0], **change}]} for part, change in changes]
    for content in (*damaged, {**good, "absent": 3}):
        file.write_text(json.dumps(content))
        with pytest.raises(BenchError, match="damaged") as caught:
            rewrite_report(tmp_path / "test0.yaml", None, made.store, tmp_path / "again")
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("undrawn")
def test_the_loss_is_drawn_without_the_figure_that_has_a_plot_of_its_own(made):
    for figure, columns in ((FIGURE, []), ({**FIGURE, "term": "total"}, ["retrieval"])):
        made.again("pretrain", figure=figure)
        list(write_reports([made.protocol], made.plan, made.store))
        known = json.loads(records_of(made).read_text())
        assert [list(c) for c in known["curves"].values()] == [["step", "lr", "loss", *columns]]


@pytest.mark.usefixtures("undrawn")
def test_every_fine_tunings_loss_is_kept_in_few_points_and_drawn(made):
    shown = list(write_reports([made.protocol], made.plan, made.store))
    known = json.loads(records_of(made).read_text())["courses"]
    assert {c["row"] for c in known} == set(made.protocol.rows)
    assert len(known) == len(made.plan.cells[made.protocol.name])
    for course in known:  # 250 steps, three to a point
        assert len(course["steps"]) == 84 and course["steps"][:2] == [2.0, 5.0]
        assert course["losses"][0] == pytest.approx((100 + 50 + 100 / 3) / 3, rel=1e-5)
    assert "Fine-tuning loss</h2>" in shown[0].page.read_text()


def test_a_row_of_several_pretrainings_shows_the_first_that_is_done(made):
    (job,) = (j for j in made.plan.jobs.values() if j.kind == "pretrain")
    for other in ("0" * 16, "1" * 16):
        shutil.copytree(made.store.jobs / job.id, made.store.jobs / other)
        share = 0.1 if other[0] == "0" else 0.9
        curve = pd.DataFrame({"step": [1], "retrieval": [share], "guess": [0.25]})
        curve.to_csv(made.store.jobs / other / "curve.csv", index=False)
    cells = made.plan.cells[made.protocol.name]
    own = [c for c in cells if c.row == "pair"]
    undone, two, three = (replace(own[0], pretrain=n * 16) for n in "f01")
    cells[:] = [undone, two, three, *cells]
    pretexts = [(p.row, p.shared, p.last) for p in told(made)["pretexts"]]
    assert pretexts == [("pair", (), 0.1), ("again", (), 0.955)]
    cells[1] = replace(two, row="pair (shuffled)")  # a control of the row is the row
    assert [p.row for p in told(made)["pretexts"]] == ["pair", "again"]
