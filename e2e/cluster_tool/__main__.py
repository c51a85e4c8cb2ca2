"""The command line of `e2e/cluster`."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from . import kind, layout, native
from .errors import ClusterError
from .layout import BIN, DEFAULT_DIRECTORY, FAILURE, Cluster
from .report import say, step

DESCRIPTION = """A real Kubernetes for tests. The backend `auto` takes kind where kind and a Docker engine are
installed, otherwise native processes, which need Linux, root, Go and a few Debian packages. Everything it makes is in
.cluster/ of the checkout."""


def main() -> int:
    """Run one command; an error that the caller can fix is one line on stderr and exit code 1."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except ClusterError as error:
        say(f"e2e/cluster: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up(arguments: argparse.Namespace) -> None:
    """Bring up a cluster, and with --hold take it down again when stdin closes."""
    chosen = choose(arguments.backend, alone=arguments.control_plane_only)
    if chosen == "native":
        native.prepare()
    name = kind.name_for(arguments.dir) if chosen == "kind" else "currant"
    _clear(arguments.dir)
    cluster = layout.create(arguments.dir, backend=chosen, name=name, control_plane_only=arguments.control_plane_only)
    try:
        with step("up"):
            _backend(cluster).up(cluster)
        print(_environment(cluster), flush=True)
        if arguments.hold:
            sys.stdin.read()
    except BaseException as error:
        if isinstance(error, ClusterError):
            _keep_logs(cluster)
        _take_down(cluster)
        raise
    if arguments.hold:
        _take_down(cluster)


def build_only(_arguments: argparse.Namespace) -> None:
    """Build what a native cluster needs, so that `up` takes seconds."""
    native.check(with_node=False)
    native.prepare()


def check(arguments: argparse.Namespace) -> None:
    """Install what `up` needs, and say what cannot be installed; build nothing."""
    chosen = choose(arguments.backend, alone=False)
    say(f"e2e/cluster: {chosen}: what it needs is here")


def down(arguments: argparse.Namespace) -> None:
    """Take the cluster down and delete its directory; nothing to do is no error."""
    if (arguments.dir / "cluster.json").exists():
        with step("down"):
            _take_down(layout.load(arguments.dir))


def load_image(arguments: argparse.Namespace) -> None:
    """Load archives of images into the node."""
    cluster = layout.load(arguments.dir)
    for archive in arguments.archives:
        if not archive.is_file():
            raise ClusterError(f"no archive {archive}: worker-image/build.sh makes them")
        with step(f"loaded {archive}"):
            _backend(cluster).load_image(cluster, archive)


def restart_api_server(arguments: argparse.Namespace) -> None:
    """Kill the API server and start it again."""
    cluster = layout.load(arguments.dir)
    with step("API server restarted"):
        _backend(cluster).restart_api_server(cluster)


def status(arguments: argparse.Namespace) -> None:
    """Print what runs. Raises ClusterError unless everything runs that should."""
    cluster = layout.load(arguments.dir)
    print(f"{cluster.directory}: {cluster.backend}{', no node' if cluster.control_plane_only else ''}")
    print("\n".join(_backend(cluster).status(cluster)), flush=True)
    if not _backend(cluster).ready(cluster):
        raise ClusterError("not all of it runs: e2e/cluster down, then up")


def kubeconfig(arguments: argparse.Namespace) -> None:
    """Print the path of the administrator's kubeconfig."""
    print(layout.load(arguments.dir).kubeconfig)


def env(arguments: argparse.Namespace) -> None:
    """Print the line that makes a shell use the cluster."""
    print(_environment(layout.load(arguments.dir)))


def choose(wanted: str, *, alone: bool) -> str:
    """The chosen backend, after it has installed what it needs. Raises ClusterError that says what is missing."""
    if wanted == "kind" and alone:
        raise ClusterError("kind makes no control plane alone: leave out --control-plane-only, or use --backend native")
    if wanted == "kind" or (wanted == "auto" and not alone and kind.usable()):
        kind.prepare()
        return "kind"
    if not sys.platform.startswith("linux"):
        raise ClusterError(f"the native cluster needs Linux, and this is {sys.platform}: use --backend kind")
    native.check(with_node=not alone)
    return "native"


def _backend(cluster: Cluster) -> ModuleType:
    return kind if cluster.backend == "kind" else native


def _environment(cluster: Cluster) -> str:
    # With kind, kubectl and helm are the machine's.
    path = "" if cluster.backend == "kind" else f" PATH={shlex.quote(str(BIN))}:$PATH"
    return f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}{path}"


def _clear(directory: Path) -> None:
    """Remove a cluster of which no process runs any more, as after a restart of the machine."""
    if (directory / "cluster.json").exists():
        left = layout.load(directory)
        if not _backend(left).runs(left):
            say(f"removing what is left of a cluster in {directory}")
            _take_down(left)


def _take_down(cluster: Cluster) -> None:
    _backend(cluster).down(cluster)
    cluster.remove()


def _keep_logs(cluster: Cluster) -> None:
    """Remove the directory of a cluster that did not come up, but keep its logs in FAILURE."""
    if any(cluster.logs.iterdir()):
        shutil.rmtree(FAILURE, ignore_errors=True)
        shutil.copytree(cluster.logs, FAILURE)
        say(f"e2e/cluster: the logs are in {FAILURE}")


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e/cluster", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--dir", type=_path, default=DEFAULT_DIRECTORY, help="the cluster's directory (%(default)s)")

    backend = argparse.ArgumentParser(add_help=False)
    backend.add_argument("--backend", choices=("auto", "kind", "native"), default="auto", help="%(default)s")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], what: str, *more: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, parents=[shared, *more])
        added.set_defaults(run=run)
        return added

    starting = command("up", up, "bring up a cluster, building what is missing", backend)
    starting.add_argument("--control-plane-only", action="store_true", help="no node: objects are kept, pods never run")
    starting.add_argument("--hold", action="store_true", help="stay, and take the cluster down when stdin closes")
    command("build", build_only, "build the binaries if they are missing or out of date, which `up` does, too")
    command("check", check, "install what `up` needs, or say what is missing; nothing is built", backend)
    command("down", down, "take the cluster down and delete its directory")
    loading = command("load-image", load_image, "load archives of images into the node")
    loading.add_argument("archives", metavar="ARCHIVE", type=_path, nargs="+")
    command("restart-apiserver", restart_api_server, "kill the API server and start it again")
    command("status", status, "print what runs")
    command("kubeconfig", kubeconfig, "print the path of the kubeconfig")
    command("env", env, "print what to eval for KUBECONFIG and PATH")
    return parser


def _path(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    sys.exit(main())
