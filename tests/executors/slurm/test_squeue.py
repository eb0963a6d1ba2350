"""Questions to SLURM, on fakes of its commands."""

import pytest

from bench.errors import BenchError
from bench.executors.slurm import squeue


def test_all_arrays_are_asked_for_in_one_call_and_read_with_and_without_an_index(fakes):
    rows = ["12_3|a|3|RUNNING|None", "13|b|N/A|PENDING|Dependency", "noise"]
    rows.append("14_0|c|0|PENDING|(launch_failed_requeued_held)")
    log = fakes("squeue", "; ".join(f"echo '{row}'" for row in rows))
    found = squeue.listed({"b", "a", "c"})
    assert {key: (line.id, line.state, line.hopeless) for key, line in found.items()} == {
        ("a", 3): ("12_3", "RUNNING", False),
        ("b", 0): ("13", "PENDING", False),
        ("c", 0): ("14_0", "PENDING", True),
    }
    assert len(log.read_text().splitlines()) == 1
    assert "--name a,b,c" in log.read_text()


ALIVE = """PENDING CONFIGURING RUNNING COMPLETING SUSPENDED STOPPED REQUEUED REQUEUE_HOLD
RESV_DEL_HOLD RESIZING SIGNALING SPECIAL_EXIT STAGE_OUT NEW_TO_US"""
OVER = """CANCELLED COMPLETED DEADLINE FAILED OUT_OF_MEMORY REVOKED TIMEOUT BOOT_FAIL NODE_FAIL
PREEMPTED"""


def test_a_task_in_a_living_state_is_listed_whatever_the_state_and_one_that_is_over_is_not(fakes):
    alive, over = ALIVE.split(), OVER.split()
    states = [*alive, *over]
    rows = (f"echo '7_{index}|a|{index}|{state}|None'" for index, state in enumerate(states))
    log = fakes("squeue", "; ".join(rows))
    assert [line.state for line in squeue.listed({"a"}).values()] == alive
    # also in a partition that is hidden
    assert {"--states=all", "--all"} <= set(log.read_text().split())


CHANGING = {"SQUEUE_STATES", "SQUEUE_FORMAT2", "SACCT_FORMAT", "SCANCEL_STATE", "SCONTROL_FUTURE"}
CHANGING |= {"SINFO_FORMAT", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN"}
CHANGING |= {"SLURM_JOB_ID"}
KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "KRB5CCNAME"}


QUESTIONS = {
    "listed": ("squeue", lambda: squeue.listed({"a"})),
    "states": ("squeue", lambda: squeue.states({"1": "a"})),
    "ended": ("sacct", lambda: squeue.states({"1": "a"})),
    "accounting": ("sacct", squeue.accounting),
    "cancel": ("scancel", lambda: squeue.cancel(["1"])),
    "requeue": ("scontrol", lambda: squeue.requeue("1")),
    "config": ("scontrol", squeue.config),
}


@pytest.mark.parametrize(("client", "ask"), QUESTIONS.values(), ids=QUESTIONS)
def test_what_the_users_shell_sets_for_slurms_commands_changes_no_question(
    fakes, tmp_path, monkeypatch, client, ask
):
    for name in CHANGING | KEPT:
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("LC_ALL", "de_DE")
    fakes(client, f'env > "{tmp_path}/env"')
    ask()
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert seen.keys() & (CHANGING | KEPT) == KEPT
    assert seen["LC_ALL"] == "C"


def test_a_squeue_that_never_answers_ends_in_one_line(fakes):
    log = fakes("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match=r"no answer in 5 tries \(error: Unable to contact"):
        squeue.listed({"a"})
    assert len(log.read_text().splitlines()) == squeue.TRIES


def test_a_squeue_that_fails_for_a_while_loses_nothing(fakes, tmp_path):
    log = tmp_path / "fake bin" / "squeue.log"
    fakes("squeue", f'[ $(wc -l < "{log}") -gt 2 ] || exit 1; echo "7|a|N/A|RUNNING|None"')
    assert list(squeue.listed({"a"})) == [("a", 0)]


def test_a_squeue_that_hangs_is_not_waited_for(fakes, monkeypatch):
    fakes("squeue", "exec sleep 30")
    monkeypatch.setattr(squeue, "TIMEOUT", 0.2)
    with pytest.raises(BenchError, match="did not answer in 0 s"):
        squeue.listed({"a"})


def test_how_tasks_ended_is_asked_of_the_queue_and_the_rest_of_accounting_unless_it_is_off(fakes):
    squeues = fakes("squeue", 'echo "1_2|CANCELLED"; echo "1_3|RUNNING"')
    sacct = fakes("sacct", 'echo "3_0|OUT_OF_MEMORY"; echo "3_1|CANCELLED by 0"; echo "3_2|FAILED"')
    ended = {"1_2": "a", "3_0": "b", "3_1": "b"}
    assert squeue.states(ended) == {"1_2": "CANCELLED", "3_0": "OUT_OF_MEMORY", "3_1": "CANCELLED"}
    assert "--states=all --name a,b" in squeues.read_text()
    assert sacct.read_text().rstrip().endswith("--jobs 3")  # whole arrays: the line stays short
    fakes("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert squeue.states({"3_0": "b"}) == squeue.states({}) == {}


@pytest.mark.parametrize(
    ("state", "reason", "hopeless"),
    [
        ("PENDING", "Priority", False),
        ("PENDING", "JobHeldUser", False),
        ("PENDING", "Resources", False),
        ("PENDING", "QOSMaxGRESPerJob", True),
        ("PENDING", "AssocMaxWallDurationPerJobLimit", True),
        ("PENDING", "QOSMaxJobsPerUserLimit", False),
        ("PENDING", "QOSMaxCpuPerUserLimit", False),
        ("PENDING", "job requeued in held state", True),
        ("SPECIAL_EXIT", "job requeued in held state", True),
        ("RUNNING", "BadConstraints", False),
    ],
)
def test_what_never_starts_without_a_person_is_told_from_what_waits(state, reason, hopeless):
    assert squeue.Line("1_0", "n", 0, state, reason).hopeless is hopeless


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no sbatch on this machine"):
        squeue.require()


def test_what_a_site_says_of_itself_is_read(fakes):
    lines = r"Configuration data\nMaxArraySize            = 1001\nKillWait = 30 sec\n"
    fakes("scontrol", f'printf "{lines}"')
    assert squeue.config() == {"MaxArraySize": "1001", "KillWait": "30 sec"}
    fakes("scontrol", "exit 1")
    assert squeue.config() == {}


SITES = [
    ({"MaxArraySize": "1001"}, 1001),
    ({"MaxArraySize": "1001", "SchedulerParameters": "bf_interval=2,max_array_tasks=9,x"}, 9),
    ({"MaxArraySize": "0"}, 1),
    ({"MaxArraySize": "?"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("site", "limit"), SITES)
def test_the_tasks_that_an_array_may_have_are_the_indices_below_the_sites_limit(site, limit):
    assert squeue.array_limit(site) == limit
