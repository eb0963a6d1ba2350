"""What completes a command line, by the answers themselves and in the shells that are there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.arguments import blocks, parser
from bench.cli import main
from bench.extras.completion import answer

pytestmark = pytest.mark.usefixtures("own_place")

ANSWERS = {  # a line up to the cursor: what may stand there
    "ch": ["check"],
    "check aptos": ["aptos19"],
    "check acdc --t": ["--to"],
    "check acdc --to ": [],  # a file: the shell's
    "list m": ["methods", "mixtures", "metrics"],
    "run pilot_l": ["pilot_lasc"],
    "run quickstart pilot_l": ["pilot_lasc"],
    "run quickstart --scale p": ["paper", "pilot"],
    "run quickstart --scale smoke --sc": [],  # once
    "run quickstart --only method=scratch --on": ["--only"],
    "run --only method=voc": ["method=voco"],
    "run --only f": ["fraction="],
    "run mine/": ["mine/deep/", "mine/own.yaml"],
    "compete pilot_lasc --method mae3": ["mae3d"],
    "compete pilot_lasc --network swin": ["swin_unetr"],
    "new n": ["network"],
    "cluster check gpu ": [],
    "gone ": [],
}


@pytest.mark.parametrize(("line", "found"), ANSWERS.items())
def test_words_that_may_follow(line, found, tmp_path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name in ("own.yaml", "own.txt", ".hidden.yaml"):
        (tmp_path / "mine" / name).touch()
    assert [told.partition("\t")[0] for told in answer(parser(), line.split(" "))] == found


def test_commands_come_with_what_they_do():
    told = dict(one.split("\t") for one in answer(parser(), [""]))
    assert (
        set(told) == set(blocks())
        and told["check"] == "open every case of a data set and list what is wrong"
    )


SHELLS = {
    "bash": (
        "source <(bench completion bash); COMP_LINE={line}; COMP_POINT=${{#COMP_LINE}}; _bench; "
        'printf "%s\\n" "${{COMPREPLY[@]}}"'
    ),
    "zsh": (
        "compdef() {{ }}; _describe() {{ print -l ${{${{(P)2}}%%:*}} }}; _files() {{ }}; "
        "compadd() {{ print -l $open }}; source <(bench completion zsh); "
        'line={line}; words=("${{(@s: :)line}}"); CURRENT=$#words; _bench'
    ),
    "fish": "bench completion fish | source; complete -C {line}",
}
ASKED = {
    "bench chec": ["check"],
    "bench list m": ["methods", "metrics", "mixtures"],
    "bench check aptos": ["aptos19"],
}
# bash goes on behind the =
OF_A_VALUE = {"bash": "voco", "zsh": "method=voco", "fish": "method=voco"}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    own = Path(sys.executable).parent
    place = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}"}
    for line, found in {
        **ASKED,
        "bench run quickstart --only method=voc": [OF_A_VALUE[shell]],
    }.items():
        code = SHELLS[shell].format(line=shlex.quote(line))
        ran = subprocess.run(
            [shell, "-c", code], capture_output=True, text=True, env=place, timeout=300
        )
        told = sorted(re.split(r"[\t ]", word)[0] for word in ran.stdout.split("\n") if word)
        assert told == found, (line, ran.stdout, ran.stderr)


def test_every_command_has_two_examples_that_parse(capsys):
    for command, lines in blocks().items():
        examples = [line[2:].split("  # ")[0] for line in lines if line.startswith("$ ")]
        assert len(examples) in (2, 3)
        for line in examples:
            plain = re.sub(r"^source <\((.*)\)$", r"\1", line).split(" > ")[0]
            assert parser().parse_args(shlex.split(plain)[1:]).command == command
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        assert all(f"\n  {line}\n" in out for line in examples)
