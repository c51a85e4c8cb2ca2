"""Settings: defaults, values, and what is said of a bad one."""

from __future__ import annotations

import pytest

from currant.errors import CurrantError
from currant.settings import Settings, SettingsError, load


def test_without_variables_everything_has_its_default() -> None:
    assert load({}) == Settings()
    assert Settings() == Settings(
        database_url=None,
        heartbeat_interval=5,
        heartbeat_timeout=30,
        poll_interval=5,
        max_concurrent=100,
        shutdown_grace=30,
        default_timeout=300,
        default_workflow_timeout=None,
        default_retries=3,
        default_max_worker_losses=3,
        max_payload_bytes=1_048_576,
        http_port=None,
        build_id=None,
    )


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("WORKFLOWS_DATABASE_URL", "postgresql://u:p@h:5432/d", "database_url", "postgresql://u:p@h:5432/d"),
        ("WORKFLOWS_DATABASE_URL", "postgres:///d", "database_url", "postgres:///d"),
        ("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "0.5", "heartbeat_interval", 0.5),
        ("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "60", "heartbeat_timeout", 60.0),
        ("WORKFLOWS_WORKER_POLL_INTERVAL", "1", "poll_interval", 1.0),
        ("WORKFLOWS_WORKER_MAX_CONCURRENT", "7", "max_concurrent", 7),
        ("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "0", "shutdown_grace", 0.0),
        ("WORKFLOWS_WORKER_MAX_HOT", "3", "max_hot", 3),
        ("WORKFLOWS_WORKER_LONG_WAIT", "0.5", "long_wait", 0.5),
        ("WORKFLOWS_DEFAULT_TIMEOUT", "none", "default_timeout", None),
        ("WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT", "3600", "default_workflow_timeout", 3600.0),
        ("WORKFLOWS_DEFAULT_RETRIES", "0", "default_retries", 0),
        ("WORKFLOWS_DEFAULT_MAX_WORKER_LOSSES", "0", "default_max_worker_losses", 0),
        ("WORKFLOWS_MAX_PAYLOAD_BYTES", "2048", "max_payload_bytes", 2048),
        ("WORKFLOWS_HTTP_PORT", "8080", "http_port", 8080),
        ("WORKFLOWS_BUILD_ID", "v7", "build_id", "v7"),
        ("WORKFLOWS_TRACING", "on", "tracing", True),
        ("WORKFLOWS_DEFAULT_RETRIES", "  ", "default_retries", 3),
    ],
)
def test_each_variable_sets_its_field(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(load({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WORKFLOWS_DATABASE_URL", "mysql://h/d"),
        ("WORKFLOWS_DATABASE_URL", "localhost"),
        ("WORKFLOWS_DATABASE_URL", "postgresql://[half"),
        ("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "0"),
        ("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "inf"),
        ("WORKFLOWS_WORKER_POLL_INTERVAL", "nan"),
        ("WORKFLOWS_WORKER_MAX_CONCURRENT", "0"),
        ("WORKFLOWS_WORKER_MAX_CONCURRENT", "many"),
        ("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "-1"),
        ("WORKFLOWS_DEFAULT_TIMEOUT", "5 minutes"),
        ("WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT", "-3"),
        ("WORKFLOWS_DEFAULT_RETRIES", "1.5"),
        ("WORKFLOWS_DEFAULT_MAX_WORKER_LOSSES", "-1"),
        ("WORKFLOWS_MAX_PAYLOAD_BYTES", "1MB"),
        ("WORKFLOWS_HTTP_PORT", "70000"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} cannot be .*: write ") as caught:
        load({variable: text})
    assert isinstance(caught.value, CurrantError)
    assert isinstance(caught.value, ValueError)


def test_a_bad_url_is_not_repeated_since_it_may_hold_a_password() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"WORKFLOWS_DATABASE_URL": "mysql://ann:secret@h/d"})
    assert "secret" not in str(caught.value)


def test_health_and_metrics_have_a_port_in_kubernetes_unless_told_otherwise() -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert load(pod).http_port == 8080
    assert load({**pod, "WORKFLOWS_HTTP_PORT": "9000"}).http_port == 9000
    assert load({**pod, "WORKFLOWS_HTTP_PORT": "none"}).http_port is None


def test_heartbeats_must_come_more_often_than_they_time_out() -> None:
    with pytest.raises(SettingsError, match="WORKFLOWS_WORKER_HEARTBEAT_INTERVAL .* must be below"):
        load({"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "30"})
