"""The jobs behind the picture of embeddings: one a row, none for what no picture asks for."""

from small_protocol import ids

ASKED = {"embeddings": {"samples": 5}}
OTHER = {"beside": {"vgg": {"network": "net", "init": "vgg19.pth", "title": "VGG-19"}}}


def embeds(plan):
    return {c.row: c.embed for cells in plan.cells.values() for c in cells}


def test_there_is_a_job_where_a_picture_is_asked_for_and_its_samples_are_part_of_its_name(plan_of):
    plain, plan = plan_of(), plan_of(ASKED)
    assert not ids(plain, "embed") and set(embeds(plain).values()) == {None}
    assert not ids(plan, "embed") & ids(plan_of({"embeddings": {"samples": 6}}), "embed")


def test_every_row_has_one_over_all_its_cells_scratch_too(plan_of):
    plan = plan_of(ASKED)
    assert len(ids(plan, "embed")) == 2 and ids(plan, "embed") <= set(plan.wanted())
    alone, pair = (plan.jobs[embeds(plan)[row]] for row in ("alone", "pair"))
    assert alone.spec.init == "random" and len(alone.needs) == 1
    trained = next(c for c in plan.cells["test0"] if c.row == "pair").pretrain
    assert pair.spec.init == f"job:{trained}" and pair.needs == (*alone.needs, trained)
    differ = {k for k in vars(pair.spec) if getattr(pair.spec, k) != getattr(alone.spec, k)}
    assert differ == {"init"} and pair.spec.samples == 5
    assert pair.spec.data == plan.jobs[trained].spec.data  # training patients of the downstream set
    plan = plan_of(ASKED, only={"row": ["alone"]})
    assert ids(plan, "embed") & set(plan.wanted()) == {embeds(plan)["alone"]}


def test_controls_have_none_of_their_own(plan_of):
    plan = plan_of({**ASKED, "controls": ["random", "shuffled"]})
    assert len(ids(plan, "embed")) == 2
    assert {row for row, job in embeds(plan).items() if job is None} == {
        "pair (random)",
        "pair (shuffled)",
    }


def test_a_panel_of_another_network_is_made_of_its_file_or_left_out_with_a_line(plan_of, tmp_path):
    asked = {"embeddings": {"samples": 5, **OTHER}}
    plan = plan_of(asked)
    assert plan.absent["test0"] == ["The panel of VGG-19 is left out: there is no file vgg19.pth."]
    assert not plan.beside["test0"] and not plan.provisional
    (tmp_path / "vgg19.pth").write_bytes(b"weights")
    plan = plan_of(asked)
    made = plan.jobs[plan.beside["test0"]["VGG-19"]]
    assert made.spec.init.startswith("file:") and made.id in plan.wanted()
    assert not plan.absent["test0"]
