"""The directories: one for what is built, one for each cluster that runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import ClusterError

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = CHECKOUT / ".cluster"
BIN = HOME / "bin"
IMAGES = HOME / "node-images"
FAILURE = HOME / "last-failure"
DEFAULT_DIRECTORY = HOME / "default"
CONFIG = Path(__file__).parent / "config"


@dataclass
class Cluster:
    """One cluster: its directory, and the choices made at its start, which `cluster.json` there keeps."""

    directory: Path
    backend: str = "native"
    name: str = "currant"
    control_plane_only: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    subnet: str = ""
    """The first two numbers of the /16 that belongs to a native node, as `10.210`; empty without a node."""

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig" / "admin.conf"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def pids(self) -> Path:
        return self.directory / "pids"

    @property
    def host_ip(self) -> str:
        """The machine's address, as the node and its pods see it."""
        return f"{self.subnet}.255.1"

    @property
    def node_ip(self) -> str:
        return f"{self.subnet}.255.2"

    @property
    def pods(self) -> str:
        return f"{self.subnet}.0.0/24"

    @property
    def services(self) -> str:
        return f"{self.subnet}.128.0/20"

    @property
    def dns_ip(self) -> str:
        return f"{self.subnet}.128.10"

    @property
    def node_server(self) -> str:
        """The API server's URL as seen from within the node."""
        return f"https://{self.host_ip}:{self.ports['apiserver']}"

    @property
    def cgroup(self) -> str:
        return f"currant-{self.subnet}"

    @property
    def record(self) -> Path:
        return self.directory / "cluster.json"

    def save(self) -> None:
        """Write the choices to `cluster.json`, where later commands find them."""
        decided = asdict(self)
        del decided["directory"]
        self.record.write_text(json.dumps(decided, indent=1) + "\n")

    def remove(self) -> None:
        """Delete the directory, if this tool made it."""
        if self.record.exists():
            shutil.rmtree(self.directory)


def create(directory: Path, **decided: object) -> Cluster:
    """Make the directory of a new cluster. Raises ClusterError when it holds a cluster or anything else already."""
    if (directory / "cluster.json").exists():
        raise ClusterError(
            f"there is a cluster in {directory} already: e2e/cluster down --dir {directory} takes it down"
        )
    if directory.exists() and any(directory.iterdir()):
        raise ClusterError(f"{directory} is not empty and not a cluster: name a new directory")
    cluster = Cluster(directory, **decided)  # type: ignore[arg-type]
    for path in (cluster.kubeconfig.parent, cluster.pki, cluster.logs, cluster.pids):
        path.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    cluster.save()
    return cluster


def load(directory: Path) -> Cluster:
    """The cluster in `directory`. Raises ClusterError when there is none."""
    try:
        decided = json.loads((directory / "cluster.json").read_text())
    except FileNotFoundError:
        raise ClusterError(f"no cluster in {directory}: e2e/cluster up makes one") from None
    return Cluster(directory, **decided)
