"""What a batch script runs: attacks reach it as words, and the only commands in it are the user's own."""

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench import run
from bench.errors import BenchError
from bench.executors import slurm
from bench.executors.slurm import sbatch
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.sbatch import options
from bench.store import Store

ATTACKS = ("; touch pwned;", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '")
ATTACKS += ('"; touch pwned; "', "|touch pwned", "&& touch pwned &&", "-rf ~", "--output=pwned")
ATTACKS += ("a  b", "*", "$HOME", "#", "\\", "!!")
ROOMS = ("bench", "methods", "datasets")


@pytest.fixture
def site(tmp_path, cluster):
    """Return what runs every script as a node would: srun's words by script, nothing appears beside."""

    def executed():
        found = []
        for script in sorted(tmp_path.glob("script-*.sh")):
            place = tmp_path / "node"
            place.mkdir(exist_ok=True)
            how = {"cwd": place, "capture_output": True, "timeout": 10, "check": True}
            done = subprocess.run(["bash", script], **how)
            assert done.stderr == b""
            found.append((tmp_path / "srun.txt").read_bytes().decode().split("\0")[:-1])
            assert list(place.iterdir()) == []
        assert not list(tmp_path.rglob("pwned"))
        return found

    return executed


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_output_folders_name_is_one_word(attack, tmp_path, site):
    folder = tmp_path / f"out {attack}" / "slurm" / "r"
    calls = [(str(tmp_path), ("j",), str(folder), 1)]
    sbatch.submit(folder, options(Profile(), Shape(), "bench-x", ()), calls, None)
    (words,) = site()
    assert words[words.index("-m") + 1 :] == ["submitit.core._submit", str(folder)]
    assert words[words.index("--output") + 1].startswith(f"{folder}/")
    assert words[words.index("-u") - 1] == sys.executable


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_text_of_a_profile_but_the_users_own_commands_is_one_word(attack, tmp_path, site):
    keys = ("partition", "account", "qos", "constraint", "gres")
    profile = Profile(**dict.fromkeys(keys, attack), setup=("true",))
    asked = options(profile, Shape(gpu=True), "n", ("1",))
    sbatch.submit(tmp_path / "out", asked, [("o", ("j",), "f", 1)], None)
    site()
    (script,) = tmp_path.glob("script-*.sh")
    lines = script.read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert len(commands) == 3 and commands[:2] == ["true", "export SUBMITIT_EXECUTOR=slurm"]
    for key in keys:
        (line,) = [line for line in lines if line.startswith(f"#SBATCH --{key}=")]
        assert shlex.split(line.partition("=")[2]) == [attack]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_container_is_to_see_is_one_word(attack, tmp_path):
    image, folder = f"/images/{attack}.sif", tmp_path / attack
    command = sbatch.python(Profile(image=image), [folder])
    assert shlex.split(command) == ["apptainer", "exec", "--bind", str(folder), image, "python3"]


def test_names_of_a_protocol_reach_no_script(plan_of, tmp_path, site):
    rows = {attack: {"method": "scratch", "network": "net", "title": attack} for attack in ATTACKS}
    named = {"title": ATTACKS[0], "table": ATTACKS[1]}
    plan = plan_of({"rows": {"alone": None, "pair": None, **rows}, **named})
    store = Store.open(tmp_path / "out $(touch pwned)")
    jobs = run.todo(plan, store)
    controller = slurm.Controller(plan, store, jobs, Profile(), lambda outcome: None)
    run.describe(plan, store, jobs)
    controller.step()
    found = site()
    assert len(found) >= 2
    known = {"submitit.core._submit", str(controller.folder)}
    assert all(set(words[-2:]) == known for words in found)
    scripts = "".join(p.read_text() for p in tmp_path.glob("script-*.sh"))
    scripts = scripts.replace(str(store.root.resolve()), "")
    assert not any(attack in scripts for attack in ATTACKS[:7])


def test_a_line_break_in_the_output_folder_is_refused(tmp_path):
    # In a batch script it would end the comment that names the log, and begin a command.
    for name in ("a\ntouch pwned\n", "a\x1b[2J"):
        link = tmp_path / f"link{len(name)}"
        link.symlink_to(tmp_path / name)
        for place in (tmp_path / name, link):
            with pytest.raises(BenchError, match="the path has invisible characters"):
                Store.open(place)


def test_no_shell_is_started_and_nothing_evaluates_text():
    root = Path(__file__).parents[2]
    pipe = root / "bench/conformance/pair.py"  # between two processes that a test starts
    banned = {"system", "popen", "eval", "exec", "Popen", "getoutput", "pickle"}
    banned |= {"unsafe_load", "full_load"}
    for path in (p for room in ROOMS for p in (root / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                plain = isinstance(node.func, ast.Name) or name in banned - {"eval", "exec"}
                assert not (plain and name in banned), f"{path}:{node.lineno}"
                assert not any(k.arg == "shell" for k in node.keywords), f"{path}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {a.name for a in node.names} | {getattr(node, "module", None) or ""}
                loaders = {"pickle", "dill", "cloudpickle", "marshal", "shelve"} & names
                assert path == pipe or not loaders or names == {"pickle", "UnpicklingError"}, (
                    f"{path}:{node.lineno}"
                )
