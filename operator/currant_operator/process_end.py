"""The end of the process: no thread is waited for, because one that hangs in a database would keep it for ever."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """End the process after what is registered with `atexit`: logs are flushed, a kubeconfig's key files removed."""
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)
