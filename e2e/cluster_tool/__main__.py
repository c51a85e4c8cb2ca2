"""The command line of `e2e/cluster`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from . import build, control_plane, layout
from .errors import ClusterError
from .layout import BIN, DEFAULT_DIRECTORY, Cluster
from .report import say, step


def main() -> int:
    """Run one command; an error that the caller can mend is one line on stderr and exit code 1."""
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
    if not sys.platform.startswith("linux"):
        raise ClusterError(f"the native cluster needs Linux, and this is {sys.platform}: use --backend kind")
    build.binaries()
    cluster = layout.create(arguments.dir, control_plane_only=arguments.control_plane_only)
    if arguments.hold:
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, _interrupt)
    try:
        with step("control plane"):
            control_plane.up(cluster)
        print(_environment(cluster), flush=True)
        if arguments.hold:
            sys.stdin.read()
    except BaseException:
        _take_down(cluster)
        raise
    if arguments.hold:
        _take_down(cluster)


def down(arguments: argparse.Namespace) -> None:
    """Take the cluster down and delete its directory; nothing to do is no error."""
    if (arguments.dir / "cluster.json").exists():
        _take_down(layout.load(arguments.dir))


def restart_api_server(arguments: argparse.Namespace) -> None:
    """Kill the API server and start it again."""
    control_plane.restart_api_server(layout.load(arguments.dir))


def kubeconfig(arguments: argparse.Namespace) -> None:
    """Print the path of the administrator's kubeconfig."""
    print(layout.load(arguments.dir).kubeconfig)


def env(arguments: argparse.Namespace) -> None:
    """Print the line that makes a shell use the cluster."""
    print(_environment(layout.load(arguments.dir)))


def _environment(cluster: Cluster) -> str:
    return f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))} PATH={shlex.quote(str(BIN))}:$PATH"


def _take_down(cluster: Cluster) -> None:
    control_plane.down(cluster)
    cluster.remove()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e/cluster", description="A real Kubernetes for tests.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--dir", type=_directory, default=DEFAULT_DIRECTORY, help="the cluster's directory")

    def command(name: str, run: object, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, parents=[shared])
        added.set_defaults(run=run)
        return added

    starting = command("up", up, "bring up a cluster")
    starting.add_argument("--control-plane-only", action="store_true", help="no node: objects are kept, pods never run")
    starting.add_argument("--hold", action="store_true", help="stay, and take the cluster down when stdin closes")
    command("down", down, "take the cluster down and delete its directory")
    command("restart-apiserver", restart_api_server, "kill the API server and start it again")
    command("kubeconfig", kubeconfig, "print the path of the kubeconfig")
    command("env", env, "print what to eval for KUBECONFIG and PATH")
    return parser


def _directory(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main())
