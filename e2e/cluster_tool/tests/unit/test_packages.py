"""The machine's packages: installed by root, on Debian, and only when they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.cluster_tool import packages
from e2e.cluster_tool.errors import ClusterError
from e2e.cluster_tool.tests.support import Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A machine of root's, with no command but those that are added."""
    made = Commands(tmp_path)
    monkeypatch.setenv("PATH", str(made.path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


def test_what_is_missing_is_installed(commands: Commands) -> None:
    installs = f'[ "$1" = update ] || {{ : > {commands.path}/openssl; /usr/bin/chmod +x {commands.path}/openssl; }}'
    commands.add("apt-get", installs)
    packages.need(node=False)
    assert commands.calls == ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends openssl"]


def test_nothing_is_installed_when_everything_is_there(commands: Commands) -> None:
    commands.add("apt-get")
    commands.add("openssl")
    packages.need(node=False)
    assert commands.calls == []


def test_an_installation_that_fails_says_why(commands: Commands) -> None:
    commands.add("apt-get", 'echo "reading lists" >&2; echo "E: no such package" >&2; exit 100')
    with pytest.raises(ClusterError, match=r"^apt-get update failed: E: no such package$"):
        packages.need(node=False)


def test_without_apt_get_the_packages_are_named(commands: Commands) -> None:
    with pytest.raises(ClusterError, match=r"^missing on this machine: install the packages openssl$"):
        packages.need(node=False)
