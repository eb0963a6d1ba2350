"""What is printed is text: no name of a case, a row or a file is obeyed by the terminal."""

import json
import shutil

from small_protocol import NAME

from bench import registry
from bench.cli import main
from bench.errors import printable
from bench.executors.local import Outcome
from bench.report.supplement import Extras, Failure
from bench.report.write import write
from bench.show import status
from bench.show.screen import Watch
from bench.store import Store

EVIL = "\x1b]0;x\x07\x1b[2J\x9b31m\u202egnp\r\x00\ndone: all is well"
UNSEEN = ("\x1b", "\x07", "\x9b", "\u202e", "\r", "\x00")


def harmless(text):
    return not any(c in text for c in UNSEEN) and "\ndone: all is well" not in text


def test_control_characters_are_shown_and_other_text_is_left():
    assert printable(EVIL) == r"\x1b]0;x\x07\x1b[2J\x9b31m\u202egnp\r\x00\ndone: all is well"
    assert printable("Ünïcode, ± 5\xa0%, 左心房, \\n") == "Ünïcode, ± 5\xa0%, 左心房, \\n"
    assert printable("\udcff") == r"\udcff"
    printable("\udcff").encode()


def test_the_terminal_table_obeys_no_name(report_of, tmp_path):
    protocol, rows = report_of(EVIL)
    extras = Extras(failures=(Failure("j", "b", EVIL, EVIL),), notes=(EVIL,))
    assert harmless(write(protocol, rows, tmp_path, extras, figures=False).text)


def test_status_obeys_no_file_of_a_shared_folder(tmp_path):
    store = Store.open(tmp_path / "out")
    store.write_spec("0" * 16, {"job": {"kind": EVIL, "needs": [], "spec": {}}, "run": {}})
    entry = {"reason": EVIL, "kind": EVIL, "log": EVIL, "attempts": 1}
    (store.work / ("0" * 16) / "failed.json").write_text(json.dumps(entry))
    assert harmless(status.as_text(status.status(store)))
    assert harmless(json.dumps(status.status(store)))


def test_the_watch_obeys_no_reason(tmp_path, plan_of, capsys):
    plan = plan_of()
    store = Store.open(tmp_path / "out")
    job = next(iter(plan.jobs))
    with Watch(plan, store, [job]) as watch:
        watch.outcome(Outcome(job, "failed", EVIL))
    assert harmless(capsys.readouterr().err)


def test_check_and_plan_print_nothing_that_a_terminal_obeys(tmp_path, capsys):
    data = tmp_path / NAME
    registry.load("dataset", NAME).phantom(data, 3, 0)
    (data / "dataset.json").unlink()
    name = EVIL.replace("\x00", "").replace("/", "") + ".nii.gz"
    for folder in ("imagesTr", "labelsTr"):
        shutil.copy(data / folder / "hippocampus_001.nii.gz", data / folder / name)
    (data / "imagesTr" / name).write_bytes(b"no volume")
    commands = (["check", NAME, "--data", str(tmp_path)], ["plan", "nowhere\x1b[2J.yaml"])
    for command, shown in zip(commands, ("unreadable", "no such file"), strict=True):
        assert main(command) in (1, 2)
        told = capsys.readouterr()
        assert harmless(told.out + told.err) and shown in told.out + told.err


def test_a_run_prints_no_name_that_a_terminal_obeys(attacked):
    assert harmless(attacked.told) and "done" in attacked.told
    assert "; touch pwned" not in [line.strip() for line in attacked.told.splitlines()]
