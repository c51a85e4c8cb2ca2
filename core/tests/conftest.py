"""Fixtures for all tests are in `integration/conftest.py`; unit tests need none. Helpers are in `support.py`."""
