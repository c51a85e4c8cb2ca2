"""Fixtures for all tests are in `integration/conftest.py`; unit tests need none. Helpers are in `support.py`."""

import signal
from collections.abc import Generator
from typing import Any

import pytest

# A shell that starts us in the background has us, and so what we start, ignore Ctrl-C, and `nohup` the end of the terminal. Some
# tests send these signals.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """What a test printed may hold any character; a report from one process to another must be UTF-8."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report
