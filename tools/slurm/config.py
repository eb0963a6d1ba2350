"""The files and command lines of a throw-away cluster."""

import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

GRANT = """\
create database slurm_acct_db; create user slurm@localhost identified by 'sandbox';
grant all on slurm_acct_db.* to slurm@localhost;"""


@dataclass(frozen=True)
class Cluster:
    """What the cluster looks like; the defaults fit two real cores."""

    nodes: int = 2
    cpus: int = 4
    gpus: int = 2
    mem_mb: int = 8000
    max_array: int = 1001  # the index of a task in an array is below it
    accounting: bool = False  # MariaDB and slurmdbd: `sacct`, limits on accounts

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]


def cluster_name(folder: Path) -> str:
    """Return the cluster's name; tasks carry it, so no other cluster may have it."""
    return "bench" + hashlib.sha256(bytes(folder)).hexdigest()[:12]


def munge_socket(folder: Path) -> Path:
    return folder / "run" / "munge.socket"


def database(folder: Path) -> Path:
    """Return where MariaDB listens; it has no port."""
    return folder / "run" / "mariadb.socket"


def munged(folder: Path) -> list[str]:
    """Return munged's command: its own key, nothing under /etc or /run."""
    places = {
        "key-file": folder / "munge" / "key",
        "socket": munge_socket(folder),
        "pid-file": folder / "munge" / "pid",
        "seed-file": folder / "munge" / "seed",
        "log-file": folder / "munge" / "log",
    }
    return ["munged", "--foreground", "--force", *(f"--{k}={path}" for k, path in places.items())]


def install(folder: Path) -> list[str]:
    return [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={folder / 'db'}",
        f"--user={getuser()}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]


def mariadbd(folder: Path) -> list[str]:
    return [
        "mariadbd",
        "--no-defaults",
        f"--user={getuser()}",
        f"--datadir={folder / 'db'}",
        f"--socket={database(folder)}",
        f"--pid-file={folder / 'munge' / 'db.pid'}",
        "--skip-networking",
        "--skip-log-bin",
        "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",
    ]


def write(folder: Path, cluster: Cluster) -> None:
    spools = (f"spool.{node}" for node in cluster.names)
    for name in ("run", "log", "state", "munge", "gpu", *spools):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o700)  # munged trusts no key that others could have placed
    key = folder / "munge" / "key"  # the secret that the cluster's daemons share
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = _ports(cluster)
    (folder / "gres.conf").write_text(_gres(folder, cluster))
    (folder / "slurmdbd.conf").write_text(_text(_accounting_daemon(folder, ports[1])))
    (folder / "slurmdbd.conf").chmod(0o600)  # slurmdbd refuses one that others can read
    # Last: where it is, there is a cluster.
    (folder / "slurm.conf").write_text(
        _text(_controller(folder, cluster, ports)) + _nodes(cluster, ports)
    )


def _ports(cluster: Cluster) -> list[int]:
    probes = [socket.socket() for _ in range(2 + cluster.nodes)]  # all open at once: no port twice
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _gres(folder: Path, cluster: Cluster) -> str:
    lines = []
    for node in cluster.names if cluster.gpus else ():
        devices = folder / "gpu" / node
        devices.mkdir()
        # slurmd insists on a character device; a link to one will do
        for number in range(cluster.gpus):
            (devices / f"nvidia{number}").symlink_to(os.devnull)
        last = f"[0-{cluster.gpus - 1}]" if cluster.gpus > 1 else "0"
        lines.append(f"NodeName={node} Name=gpu Type=fake File={devices}/nvidia{last}\n")
    return "".join(lines)


def _accounting_daemon(folder: Path, port: int) -> dict[str, object]:
    return {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket(folder)}",
        "DbdHost": socket.gethostname(),
        "DbdAddr": "127.0.0.1",
        "DbdPort": port,
        "SlurmUser": getuser(),
        "LogFile": folder / "log" / "slurmdbd.log",
        "PidFile": folder / "munge" / "slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "slurm",
        "StoragePass": "sandbox",
    }


def _controller(folder: Path, cluster: Cluster, ports: list[int]) -> dict[str, object]:
    log, pids = folder / "log", folder / "munge"
    settings: dict[str, object] = {
        "ClusterName": cluster_name(folder),
        "SlurmctldHost": f"{socket.gethostname()}(127.0.0.1)",
        "SlurmUser": getuser(),
        "SlurmdUser": getuser(),
        "SlurmctldPort": ports[0],
        # A requeued task waits for cred_expire; below 20 s the next start met its dying former self.
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket(folder)},cred_expire=20",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool.%n",
        "SlurmctldPidFile": pids / "slurmctld.pid",
        "SlurmdPidFile": pids / "slurmd.%n.pid",
        "SlurmctldLogFile": log / "slurmctld.log",
        "SlurmdLogFile": log / "slurmd.%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "ReturnToService": 2,
        "SlurmdParameters": "config_overrides",  # more cores than the machine has
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": 500,
        "GresTypes": "gpu",
        "MaxArraySize": cluster.max_array,
        "MaxJobCount": 10000,
        "MinJobAge": 300,
        "JobRequeue": 1,
        "SchedulerType": "sched/backfill",
        "PriorityType": "priority/basic",
        "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "KillWait": 2,
        "SlurmctldTimeout": 30,
        "SlurmdTimeout": 10,
        "MessageTimeout": 10,
        "BatchStartTimeout": 20,
        "InactiveLimit": 0,
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",  # SLURM's poll of memory: no control groups needed
        "AccountingStorageType": "accounting_storage/none",
    }
    if not cluster.accounting:
        return settings
    return settings | {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": ports[1],
        "AccountingStorageEnforce": "associations,limits,qos",
        # Without munge's socket here slurmctld ends at once, and every client hangs.
        "AccountingStoragePass": munge_socket(folder),
    }


def _nodes(cluster: Cluster, ports: list[int]) -> str:
    gres = f" Gres=gpu:fake:{cluster.gpus}" if cluster.gpus else ""
    has = f"CPUs={cluster.cpus} RealMemory={cluster.mem_mb}{gres} State=UNKNOWN"
    where = f"NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1"
    nodes = zip(cluster.names, ports[2:], strict=True)
    lines = [f"NodeName={node} {where} Port={port} {has}\n" for node, port in nodes]
    asks = {
        "main": "Default=YES PriorityTier=10 PreemptMode=OFF",
        "preempt": "PriorityTier=1 PreemptMode=REQUEUE GraceTime=10",  # seconds until its SIGKILL
        "urgent": "PriorityTier=100 PreemptMode=OFF",
    }
    lines += [f"PartitionName={name} Nodes=ALL State=UP {text}\n" for name, text in asks.items()]
    return "".join(lines)


def _text(settings: dict[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())
