"""Settings by environment and flag; a bad one is refused in one line that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from currant_operator import settings
from currant_operator.settings import OPTIONS, SettingsError

OPERATOR = Path(__file__).parents[2]


def test_without_anything_said_the_defaults_count():
    given = settings.load([], {})
    assert given.watch_namespace is None
    assert given.http_port == 8080
    assert given.lease_name == "currant-operator"
    assert (given.fleet_interval, given.stats_interval, given.resync_interval) == (5, 30, 600)


def test_a_flag_wins_over_a_variable():
    environment = {"WATCH_NAMESPACE": "shop", "CURRANT_OPERATOR_HTTP_PORT": "9090"}
    given = settings.load(["--http-port", "9999"], environment)
    assert (given.watch_namespace, given.http_port) == ("shop", 9999)


def test_an_empty_variable_is_as_none():
    assert settings.load([], {"CURRANT_OPERATOR_HTTP_PORT": "", "WATCH_NAMESPACE": ""}).http_port == 8080


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CURRANT_OPERATOR_HTTP_PORT", "99999", "a port, 0 to 65535"),
        ("CURRANT_OPERATOR_CONCURRENCY", "0", "a whole number from 1 to 100"),
        ("CURRANT_OPERATOR_RESYNC_INTERVAL", "soon", "a number of seconds"),
        ("CURRANT_OPERATOR_RESYNC_INTERVAL", "nan", "a number of seconds"),
        ("WATCH_NAMESPACE", "a,b", "the name of one namespace"),
        ("CURRANT_OPERATOR_LEASE_NAME", "My Lease", "a name of a Kubernetes object"),
        ("CURRANT_OPERATOR_LOG_FORMAT", "xml", "one of text, json"),
    ],
)
def test_a_bad_value_is_shown_in_one_line_that_names_its_variable(variable, value, expected):
    with pytest.raises(SettingsError) as shown:
        settings.load([], {variable: value})
    message = str(shown.value)
    assert message.startswith(f"{variable} must be {expected}")
    assert repr(value) in message
    assert "\n" not in message


def test_a_bad_flag_is_named_as_a_flag():
    with pytest.raises(SettingsError, match=r"^--http-port must be a port"):
        settings.load(["--http-port", "x"], {})


def test_a_lease_that_could_have_two_holders_is_refused():
    with pytest.raises(SettingsError, match="CURRANT_OPERATOR_LEASE_RENEW_DEADLINE must be less than"):
        settings.load(["--lease-duration", "10", "--lease-renew-deadline", "10"], {})


def test_two_processes_outside_a_pod_are_two_candidates():
    assert settings.load([], {}).pod_name != settings.load([], {}).pod_name
    assert settings.load([], {"POD_NAME": "operator-0"}).pod_name == "operator-0"


def test_the_lease_is_in_the_pods_namespace_unless_another_is_given():
    assert settings.load([], {"POD_NAMESPACE": "system"}).lease_namespace == "system"
    both = {"POD_NAMESPACE": "system", "CURRANT_OPERATOR_LEASE_NAMESPACE": "shop"}
    assert (settings.load([], both).pod_namespace, settings.load([], both).lease_namespace) == ("system", "shop")


def test_help_describes_every_setting():
    command = [sys.executable, "-m", "currant_operator", "--help"]
    shown = subprocess.run(command, cwd=OPERATOR, capture_output=True, text=True, check=True).stdout
    for option in OPTIONS:
        assert option.flag in shown
        assert option.variable in shown


def test_a_bad_setting_ends_the_command_with_code_2_and_one_line():
    command = [sys.executable, "-m", "currant_operator", "--http-port", "x"]
    ended = subprocess.run(command, cwd=OPERATOR, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "currant-operator: --http-port must be a port, 0 to 65535 (0: any free one), not 'x'\n"
