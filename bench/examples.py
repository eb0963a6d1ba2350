"""Two examples of every command, as its ``--help`` ends with them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "run": (
        ("bench run quickstart", "synthetic scans, three minutes"),
        (
            "bench run pilot_lasc --data DATA --only method=voco --log tensorboard",
            "one method, with curves",
        ),
    ),
    "plan": (
        ("bench plan pilot_lasc --data DATA", "what there is to do, and what it will cost"),
        ("bench plan voco_table1 --scale smoke --phantoms", "without any data"),
    ),
    "compete": (
        (
            "bench compete pilot_lasc --method mine --plugins mine.py --data DATA",
            "among those recorded",
        ),
        ("bench compete pilot_lasc --method mine --plugins mine.py --data DATA --dry-run", ""),
    ),
    "status": (
        ("bench status", "of the folder runs"),
        ("bench status --out DIR --prune", "and remove what no protocol wants any more"),
    ),
    "verify": (("bench verify", "every file of the folder runs"), ("bench verify --out DIR", "")),
    "report": (
        ("bench report pilot_lasc", "draw it again from the records"),
        ("bench report pilot_lasc --serve", "in a browser, while a run goes on"),
    ),
    "bundle": (
        ("bench bundle pilot_lasc --to lasc.bench.zip", ""),
        ("bench bundle verify lasc.bench.zip", ""),
    ),
    "compare": (
        ("bench compare runs runs_of_last_month", "two output folders"),
        ("bench compare mine.bench.zip theirs.bench.zip --protocol pilot_lasc", "two bundles"),
    ),
    "list": (("bench list methods", ""), ("bench list datasets --json", "for a program")),
    "check": (
        ("bench check lasc --data DATA", "of DATA/lasc: what there is, and what is wrong"),
        ("bench check my_scans --data DATA --to check.html", "any folder in MSD layout, drawn"),
    ),
    "phantom": (
        ("bench phantom btcv DATA", "ten scans in DATA/btcv"),
        ("bench phantom acdc DATA --cases 4 --seed 1", ""),
    ),
    "score": (
        ("bench score --prediction mine.nii.gz --reference truth.nii.gz", ""),
        (
            "bench score --prediction a/ --prediction b/ --reference truth/ --metrics dice,nsd@1mm",
            "ranked",
        ),
    ),
    "export": (
        ("bench export 3f2a --to weights.safetensors", "of the job whose id begins so"),
        ("bench export 3f2a --to checkpoint.pth --format nnssl", "for nnU-Net"),
    ),
    "cancel": (
        ("bench cancel", "what the folder runs has in the queue"),
        ("bench cancel --out DIR", ""),
    ),
    "cluster": (
        ("bench cluster check", "with the cluster's own defaults"),
        ("bench cluster check gpu --wait 600", "the profile [cluster.gpu] of bench.toml"),
    ),
    "new": (
        ("bench new method my_method --to mine", "mine/my_method.py, its test and a protocol"),
        ("bench new dataset my_scans", "in this folder"),
    ),
    "init": (
        ("bench init DATA/my_scans", "writes my_scans.yaml"),
        (
            "bench init DATA/my_scans --labels 1=liver,2=tumour --channels CT --to first.yaml",
            "asks nothing",
        ),
    ),
    "completion": (
        (
            "source <(bench completion bash)",
            "now; to keep it, put the line into ~/.bashrc (zsh: ~/.zshrc)",
        ),
        ("bench completion fish > ~/.config/fish/completions/bench.fish", ""),
    ),
}


def told(command: str) -> str:
    """Return the examples of a command, a line each and what it does below it."""
    lines = [
        f"  {line}" + (f"\n      {about}" if about else "") for line, about in EXAMPLES[command]
    ]
    return "\n".join(["examples:", *lines])
