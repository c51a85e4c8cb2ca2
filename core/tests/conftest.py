"""Fixtures for all tests are in `integration/conftest.py`; unit tests need none. Helpers are in `support.py`."""

import signal

# A shell that starts us in the background has us, and so what we start, ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
