"""A row by a recipe of its own stands beside a comparison and in none: the example of the page on fine-tuning."""

import re
from pathlib import Path

import finished_run
import pytest

from bench import run
from bench.protocol import finetune_of, read
from bench.show import reports
from bench.store import Store

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "examples" / "own_recipe.yaml"


def test_the_example_trains_nnunet_by_its_own_recipe_and_the_others_by_theirs():
    protocol = read(FILE)
    own, other = (finetune_of(protocol, 0, protocol.rows[name]) for name in ("nnunet", "scratch"))
    assert (own.steps, own.batch, own.optimiser.name, own.optimiser.lr) == (250000, 2, "sgd", 0.01)
    assert own.optimiser.nesterov and own.optimiser.momentum == 0.99 and own.deep_supervision
    assert own.augment.rotate == 0.2 and own.recipe.spacing == (1.0, 1.0, 1.0)
    assert (other.steps, other.optimiser.name, other.deep_supervision) == (5000, "adamw", False)
    assert other.augment.rotate == 0
    controls = {name: row.network for name, row in protocol.rows.items() if row.ceiling}
    assert controls == {"ceiling": "unet"}


def test_the_page_on_fine_tuning_shows_the_example():
    text, shown = FILE.read_text(), (ROOT / "docs" / "finetuning.md").read_text()
    (block,) = [b for b in shown.split("```") if b.startswith("yaml\nnetworks:")]
    assert block.removeprefix("yaml\n") in text


@pytest.mark.usefixtures("undrawn")
def test_its_row_has_a_score_and_no_difference_and_the_page_says_that_it_is_no_control(
    tmp_path, phantoms
):
    store = Store.open(tmp_path / "out")
    request = run.Request((FILE,), store.root, "smoke", data=phantoms)
    plan, protocols = run.make_plan(request, request.read(), need_data=True), request.read()
    for number, job in enumerate(plan.jobs.values()):
        finished_run.leave(finished_run.Finished(protocols[0], plan, store), number, job)
    list(reports.write_reports(protocols, plan, store))
    page = next(store.root.glob("reports/*/table.md")).read_text()
    title = "nnU-Net ResEnc, own recipe"
    lines = [line for line in page.splitlines() if line.startswith(f"| {title}")]
    assert lines and "**" not in lines[0]
    verdicts = page.partition("Which rows differ from scratch?")[2].partition("\n## ")[0]
    assert verdicts and title not in verdicts
    (note,) = [x for x in page.splitlines() if "is a reference with its own settings" in x]
    tuning = page.partition("### Fine-tuning\n")[2].partition("\n###")[0].splitlines()
    (recipe,) = [x for x in tuning if title in x]
    assert re.search(r"\| sgd +\| +0\.01 ", recipe) and "2 steps" in page
    assert "it is not a control of a pretraining, and no difference from it is computed" in note
    assert "From scratch is a reference" not in page
