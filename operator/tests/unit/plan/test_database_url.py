"""The URL of a database: what can be one, what of it is shown, and its fingerprint."""

from __future__ import annotations

import pytest

from currant_operator.plan.database_url import WrongUrl, check_url, fingerprint, shown_as

URL = "postgresql://currant:sesame@db.example:5432/orders"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:sesame@h/d", "it must start with postgresql://"),
        ("u:sesame@h/d", "it must start with postgresql://"),
        ("postgresql:///d", "it names no host"),
        ("postgresql://u:sesame@h:port/d", "it is not a URL"),
        ("postgresql://u:sesame@h1:5432,h2:port/d", "it is not a URL"),
        ("postgresql://u:sesame@[::1/d", "it is not a URL"),
        ("postgresql://u:sesame@,/d", "it names no host"),
    ],
)
def test_what_cannot_be_the_url_of_a_database_is_refused_without_being_repeated(url, message):
    with pytest.raises(WrongUrl, match=message) as shown:
        check_url(url)
    assert "sesame" not in str(shown.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://h/d",
        "postgresql://u@/d?host=/run/postgresql",
        "postgresql://u@/d?hostaddr=10.0.0.1",
        "postgresql://u:p@[::1]:5433/d",
        "postgresql://u:p@h1:5432,[::1]:5433,h3/d?target_session_attrs=primary",
    ],
)
def test_what_can_be_the_url_of_a_database_is_taken(url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "db.example:5432/orders"),
        ("postgresql://owner:p%40ss@db.example:5432/orders?sslmode=require", "db.example:5432/orders"),
        ("postgresql://a:secret@[::1]:5432,b:5433/x", "[::1]:5432,b:5433/x"),
        ("postgresql:///x?host=/run/postgresql&password=secret", "/x"),
    ],
)
def test_the_name_of_a_database_in_metrics_has_neither_user_nor_password(url: str, shown: str) -> None:
    assert shown_as(url) == shown


def test_a_fingerprint_changes_with_the_url_and_gives_nothing_of_it_away() -> None:
    assert fingerprint("postgresql://a:b@c/d") != fingerprint("postgresql://a:e@c/d")
    assert len(fingerprint("postgresql://a:b@c/d")) == 4
