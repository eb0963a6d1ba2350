"""``bench completion SHELL``: what a shell runs to complete a command line.

The script asks ``bench`` itself, with ``ASKS`` in the environment and the words up to the cursor as
arguments: so commands, flags and names are always those of the bench that is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError, printable

ASKS = "BENCH_COMPLETING"  # of the environment
# Each line that bench answers is a candidate, a tab, and a few words on it.
BASH = """\
_bench() {
    local words word line prefix IFS=$' \\t\\n'
    line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[-1]}"
    prefix="${word%"${word##*[=:]}"}"  # bash completes what stands after these
    COMPREPLY=()
    while IFS=$'\\t' read -r word _; do
        COMPREPLY+=("${word#"$prefix"}")
    done < <(BENCH_COMPLETING=1 bench "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
    return 0
}
complete -o default -F _bench bench
"""
ZSH = """\
#compdef bench
_bench() {
    local -a open whole
    local word about
    while IFS=$'\\t' read -r word about; do
        if [[ $word == *[=/] ]]; then open+=("$word"); else whole+=("${word//:/\\\\:}:$about"); fi
    done < <(BENCH_COMPLETING=1 bench "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( $#open + $#whole )); then
        (( $#open )) && compadd -Q -S '' -a open
        (( $#whole )) && _describe 'bench' whole
    else
        _files
    fi
}
if [[ $funcstack[1] == _bench ]]; then _bench "$@"; else compdef _bench bench; fi
"""
FISH = """\
function __bench_candidates
    set -l words (commandline -opc)[2..-1] (commandline -ct)
    set -l found (BENCH_COMPLETING=1 bench $words 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c bench -f -a '(__bench_candidates)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
Candidate = tuple[str, str]  # what completes a word, and what it means


def answer(parser: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[str]:
    """Yield a line for everything that may stand in the place of the last word.

    Args:
        parser: of every command.
        words: of the command line up to the cursor, without ``bench``; the last one may be empty.
    """
    *before, word = words or [""]
    for name, about in _candidates(parser, before, word):
        if name.startswith(word):
            yield printable(name) + (f"\t{printable(about)}" if about else "")


def _candidates(
    parser: argparse.ArgumentParser, before: Sequence[str], word: str
) -> Iterator[Candidate]:
    """Yield what the parser takes next; files are left to the shell where nothing is yielded."""
    wants: argparse.Action | None = None  # a flag that waits for its value
    given = 0  # words that are no flags, since the command
    for earlier in before:
        if wants is not None:
            wants = None
        elif earlier.startswith("-"):
            flag = parser._option_string_actions.get(earlier)
            wants = flag if flag is not None and flag.nargs != 0 else None
        else:
            chosen = _commands(parser).get(earlier)
            parser, given = (parser, given + 1) if chosen is None else (chosen, 0)
    if wants is not None:
        yield from _values(wants, word)
    elif word.startswith("-"):
        for action in parser._actions:
            repeats = isinstance(action, argparse._AppendAction)
            if action.option_strings and (repeats or not {*action.option_strings} & {*before}):
                yield action.option_strings[-1], action.help or ""
    else:
        places = [action for action in parser._actions if not action.option_strings]
        if places and (given < len(places) or places[-1].nargs == "+"):
            yield from _values(places[min(given, len(places) - 1)], word)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    nested = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return next((dict(action.choices) for action in nested), {})


def _values(action: argparse.Action, word: str) -> Iterator[Candidate]:
    """Yield the values of a flag or a place, as far as they are known."""
    if isinstance(action, argparse._SubParsersAction):
        yield from ((choice.dest, choice.help or "") for choice in action._choices_actions)
    elif action.choices:
        yield from ((str(choice), "") for choice in action.choices)
    elif action.metavar == "PROTOCOL" or action.dest in ("track", "protocol"):
        yield from ((name, "") for name in _protocols())
        yield from ((path, "") for path in _files(word))
    elif action.dest == "only":
        for key in ("method", "network", "dataset", "fraction", "seed", "row"):
            names = _registered(key) if key in KINDS and word.startswith(f"{key}=") else ("",)
            yield from ((f"{key}={name}", "") for name in names)
    elif action.dest in KINDS:
        yield from ((name, "") for name in _registered(action.dest))


def _registered(kind: str) -> Sequence[str]:
    from bench import registry
    from bench.nets import catalog

    with suppress(BenchError):  # two of one name: the command itself says so
        return catalog.names() if kind == "network" else registry.names(kind)
    return []


KINDS = ("method", "dataset", "network")


def _protocols() -> list[str]:
    from bench.protocol import named, under

    return ["_".join(under(path)) for path in named.files()]


def _files(word: str) -> Iterator[str]:
    """Yield protocol files, bundles and folders that begin so."""
    home, start = (Path(word), "") if word.endswith("/") else (Path(word).parent, Path(word).name)
    with suppress(OSError):
        for path in sorted(home.iterdir()):
            if path.name.startswith(start) and (start or not path.name.startswith(".")):
                completed = f"{word[: len(word) - len(start)]}{path.name}"
                if path.is_dir():
                    yield f"{completed}/"
                elif path.suffix in (".yaml", ".yml", ".zip"):
                    yield completed
