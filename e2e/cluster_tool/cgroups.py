"""The control group that a node keeps its pods in, in either version of cgroups."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from . import processes
from .errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = "+cpu +cpuset +io +memory +pids"


def make(name: str) -> None:
    """Make the group in every hierarchy: the kubelet wants its root to be there. Raises ClusterError."""
    control = ROOT / "cgroup.subtree_control"
    if control.exists():
        for controller in CONTROLLERS.split():
            try:
                control.write_text(controller)
            except OSError:
                continue  # this kernel does not have the controller; the kubelet names those that it misses
    try:
        for hierarchy in _hierarchies():
            (hierarchy / name).mkdir(exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"no control group can be made ({error}): a node needs a machine, or a container that may do what root may"
        ) from None


def remove(name: str) -> None:
    """Remove the group and all below it. Its processes must have ended."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        if not group.is_dir():
            continue
        below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
        for directory in (*below, group):
            processes.wait_until(partial(_removed, directory), 5)


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the kernel may take a moment to remove ended processes
    return True


def _hierarchies() -> list[Path]:
    """The hierarchies: one for each controller in version 1, a single one in version 2."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [
        path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink() and (path / "tasks").exists()
    ] + [path for path in (ROOT / "unified",) if path.is_dir()]
