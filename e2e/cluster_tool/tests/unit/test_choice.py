"""Which backend `auto` takes."""

from __future__ import annotations

import sys

import pytest

from e2e.cluster_tool import kind, native
from e2e.cluster_tool.__main__ import choose
from e2e.cluster_tool.errors import ClusterError


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that the tool looked for, on a machine that has everything."""
    asked: list[str] = []
    monkeypatch.setattr(kind, "prepare", lambda: asked.append("kind"))
    monkeypatch.setattr(native, "check", lambda *, with_node: asked.append("node" if with_node else "control plane"))
    monkeypatch.setattr(kind, "usable", lambda: True)
    return asked


def test_kind_where_it_can_be_used(prepared: list[str]) -> None:
    assert choose("auto", alone=False) == "kind"
    assert prepared == ["kind"]


def test_native_processes_elsewhere(prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "usable", lambda: False)
    assert choose("auto", alone=False) == "native"
    assert prepared == ["node"]


def test_a_control_plane_alone_is_native_even_where_kind_can_be_used(prepared: list[str]) -> None:
    assert choose("auto", alone=True) == "native"
    assert prepared == ["control plane"]


def test_native_where_it_is_asked_for(prepared: list[str]) -> None:
    assert choose("native", alone=False) == "native"
    assert prepared == ["node"]


def test_there_is_no_native_cluster_but_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ClusterError, match="the native cluster needs Linux, and this is darwin: use --backend kind"):
        choose("native", alone=False)
