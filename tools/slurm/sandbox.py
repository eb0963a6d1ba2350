"""A private, throw-away SLURM cluster in one folder: real daemons, virtual nodes, fake GPUs.

    python tools/slurm/sandbox.py start DIR [--nodes 2 --cpus 4 --gpus 2 --mem-mb 8000 --accounting]
    export SLURM_CONF=DIR/slurm.conf
    python tools/slurm/sandbox.py stop DIR

Key, sockets, ports, state and logs are the cluster's own: several can run side by side, and beside a
real one. ``stop`` ends processes that its pid files name and that are provably its own, then removes
the folder. As root, each node has a host name of its own, so claims are judged as on several hosts.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Self

import config
import daemons

TOOLS = (
    "munged",
    "slurmctld",
    "slurmd",
    "sinfo",
    "sbatch",
    "squeue",
    "scontrol",
    "scancel",
    "srun",
)
DATABASE = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb")
LONGEST = 80  # characters of the folder: a socket's path may have 107


class SandboxError(Exception):
    """The cluster did not come up, or did not answer."""


def lacking(accounting: bool = False) -> str:
    """Return why no cluster can be started here, for a skip; empty where one can."""
    if not sys.platform.startswith("linux"):
        return "SLURM's daemons need Linux"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=daemons.path()) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install slurm-wlm munge, or .ci/slurm in a container"
    missing = [
        tool for tool in DATABASE if accounting and shutil.which(tool, path=daemons.path()) is None
    ]
    if missing:
        return f"no {missing[0]} here: apt-get install slurmdbd mariadb-server"
    return ""


@dataclass
class Sandbox:
    """One cluster; a context manager that starts and stops it."""

    folder: Path
    cluster: config.Cluster = field(default_factory=config.Cluster)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.conf = self.folder / "slurm.conf"
        self.daemons = daemons.Daemons(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    # Starting

    def start(self) -> None:
        why = lacking(self.cluster.accounting)
        if why:
            raise SandboxError(why)
        if len(str(self.folder)) > LONGEST:
            raise SandboxError(
                f"{self.folder}: too long for the path of a socket; take a shorter folder"
            )
        if self.conf.exists():
            raise SandboxError(f"{self.folder}: there is a cluster already; stop it first")
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise

    def _boot(self) -> None:
        config.write(self.folder, self.cluster)
        self.daemons.start("munged", config.munged(self.folder))
        munge = ("munge", "-n", f"--socket={config.munge_socket(self.folder)}")
        self._until(lambda: self._answers(*munge), "munged", 10)
        if self.cluster.accounting:
            self._start_database()
        self.start_controller()
        for node in self.cluster.names:
            self.start_node(node)
        self._until(lambda: self.idle() == self.cluster.names, "the nodes", 40)

    def start_controller(self) -> None:
        self.daemons.start("slurmctld", ["slurmctld", "-D", "-f", str(self.conf)])
        self._until(lambda: self._answers("scontrol", "ping"), "slurmctld", 30)

    def start_node(self, node: str) -> None:
        """Start one slurmd, under its own host name where that is allowed."""
        command = ["slurmd", "-D", "-N", node, "-f", str(self.conf)]
        if self.own_names():
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', node, *command]
        self.daemons.start(f"slurmd.{node}", command)

    def own_names(self) -> bool:
        """Can nodes have host names of their own here? Needs root."""
        return self._answers("unshare", "--uts", "hostname", "bench-probe")

    def _start_database(self) -> None:
        install = config.install(self.folder)
        subprocess.run(
            install, check=True, capture_output=True, timeout=120, env=self.daemons.environment
        )
        self.daemons.start("mariadbd", config.mariadbd(self.folder))
        socket = f"--socket={config.database(self.folder)}"
        client = ("mariadb", "--no-defaults", "-u", "root", socket, "-e")
        self._until(lambda: self._answers(*client, "select 1"), "mariadbd", 30)
        self.call(*client, config.GRANT)
        result = {"MYSQL_UNIX_PORT": str(config.database(self.folder))}
        self.daemons.start("slurmdbd", ["slurmdbd", "-D"], result)
        self._until(lambda: self._answers("sacctmgr", "-n", "list", "cluster"), "slurmdbd", 30)
        user, name = f"name={getuser()}", config.cluster_name(self.folder)
        for item in (["cluster", name], ["account", "name=lab"], ["user", user, "account=lab"]):
            self.call("sacctmgr", "-i", "add", *item)

    def _answers(self, *command: str) -> bool:
        return self.ask(*command, timeout=5).returncode == 0

    def _until(self, true: object, what: str, seconds: float) -> None:
        if not daemons.wait(true, seconds):
            raise SandboxError(f"{what}: not up after {seconds:.0f} s\n{self.logs()}")

    # Using

    def ask(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a client; one that does not answer in time ended with 124."""
        try:
            return subprocess.run(
                command,
                env=self.daemons.environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"{command[0]}: no answer")

    def call(self, *command: str, timeout: float = 20) -> str:
        """Return what a client prints; it must succeed."""
        done = self.ask(*command, timeout=timeout)
        if done.returncode:
            raise SandboxError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout.strip()

    def idle(self) -> list[str]:
        done = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N", "-t", "idle", timeout=5)
        return sorted(done.stdout.split())

    def queue(self) -> list[str]:
        return self.call("squeue", "-h", "--array", "-o", "%i %T").splitlines()

    def recover(self) -> None:
        for node in self.cluster.names:
            if self.daemons.pid(f"slurmd.{node}") is None:
                self.start_node(node)
        self.ask("scancel", "--user", getuser())
        self.ask("scontrol", "update", f"nodename={','.join(self.cluster.names)}", "state=resume")
        self._until(lambda: not self.queue() and self.idle() == self.cluster.names, "recovery", 60)

    def logs(self) -> str:
        files = sorted((self.folder / "log").glob("*.log"))
        ends = [(path, path.read_text(errors="replace").splitlines()[-8:]) for path in files]
        return "\n".join(f"--- {path.name}\n" + "\n".join(end) for path, end in ends)

    # Stopping

    def stop(self) -> None:
        if self.daemons.pid("slurmctld") is not None:
            self.ask("scancel", "--user", getuser(), timeout=5)
            daemons.wait(lambda: not self.ask("squeue", "-h", timeout=3).stdout.strip(), 8)
        self.daemons.stop()
        if self.conf.exists() or (self.folder / "run").is_dir():  # a folder of ours, not any folder
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM, e.g. of ``timeout``, into an interrupt, so that the cluster does not stay."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    for name, value in (("nodes", 2), ("cpus", 4), ("gpus", 2), ("mem-mb", 8000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--accounting", action="store_true")
    given = vars(parser.parse_args())
    do, folder = given.pop("do"), given.pop("folder")
    sandbox = Sandbox(folder, config.Cluster(**given))
    if do == "stop":
        sandbox.stop()
        return 0
    began = time.monotonic()
    try:
        sandbox.start()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"up in {time.monotonic() - began:.1f} s; export SLURM_CONF={sandbox.conf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
