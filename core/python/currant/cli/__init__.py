"""The command line: `currant`, and `python -m currant`.

Exit codes: 0 done; 1 the execution asked about failed or does not exist; 2 wrong usage. A user's mistake or an
unreachable database is one line on standard error, never a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import time
from typing import TextIO

import click

from currant._base.user_errors import SafeLogger
from currant.cli import commands
from currant.cli.functions import Mistake
from currant.cli.output import say_error, say_usage_error
from currant.errors import CurrantError
from currant.settings import SettingsError

__all__ = ["cli", "main"]

log = SafeLogger(logging.getLogger("currant.cli"))

URL_VARIABLE = "WORKFLOWS_DATABASE_URL"
CONNECT_TIMEOUT_SECONDS = 3
THREADS_END_WITHIN = 5.0  # seconds after the command
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a full disk, a limit, a terminal that has gone


class _Commands(click.Group):
    """The commands of the package `commands`. The module of one is imported when the command is run or shown."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        module = importlib.import_module(f"{commands.__name__}.{name}")
        found = (value for value in vars(module).values() if isinstance(value, click.Command) and value.name == name)
        return next(found)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="currant", prog_name="currant")
@click.pass_context
def cli(context: click.Context) -> None:
    """Durable workflows with nothing but Postgres.

    The database is WORKFLOWS_DATABASE_URL; `currant dev` brings one along.
    """
    if context.invoked_subcommand != "worker":
        _wait_briefly()


def _wait_briefly() -> None:
    """Let commands fail soon when the database cannot be reached; workers and programs wait longer."""
    url = os.environ.get(URL_VARIABLE, "")
    if "://" in url and "connect_timeout=" not in url:
        os.environ[URL_VARIABLE] = f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_TIMEOUT_SECONDS}"


def main() -> None:
    """Run the command line and exit."""
    _open_streams()
    code = run(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.default_int_handler:  # the rest may be given up at once
            signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_in_spite_of_threads, args=(code,), daemon=True).start()
    sys.exit(code)


def _end_in_spite_of_threads(code: int) -> None:
    """End the process `THREADS_END_WITHIN` seconds after its command, even when threads of users' code do not end.

    Python would wait for them for ever (`asyncio.to_thread`, executors). The tasks in them have been handed back.
    """
    time.sleep(THREADS_END_WITHIN)
    main_thread = threading.main_thread()
    frame = sys._current_frames().get(main_thread.ident or 0)
    while frame is not None and frame.f_code is not threading._shutdown.__code__:  # type: ignore[attr-defined]
        frame = frame.f_back
    if frame is not None:  # it waits for threads
        left = [
            thread.name for thread in threading.enumerate() if thread not in (main_thread, threading.current_thread())
        ]
        log.warning("the process ends, its threads do not: %s", ", ".join(left))
        logging.shutdown()
        os._exit(code)


def _open_streams() -> None:
    """Open the standard streams that are closed, as some programs leave them for a daemon.

    The next file to be opened would get their numbers, and printed text would go there: into a connection to Postgres.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def run(arguments: list[str]) -> int:
    """Run one command. Returns its exit code."""
    try:
        # The result is what a command returns, or the code it exits with.
        code = cli.main(arguments, prog_name="currant", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Mistake as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        say_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SettingsError as error:
        return _say(error, 2)
    except CurrantError as error:
        return _say(error, 1)
    except BrokenPipeError:
        _drop_output(sys.stdout)  # its reader has gone (`| head`)
        return 1
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        with contextlib.suppress(OSError):
            say_error(f"the output cannot be written: {error.strerror}")
        _drop_output(sys.stdout, sys.stderr)
        return 1


def _drop_output(*streams: TextIO) -> None:
    """Send to nowhere what streams still have in their buffers: Python would try again to write it when it ends."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(error: CurrantError, code: int) -> int:
    say_error(str(error).strip() or type(error).__name__)
    return code
