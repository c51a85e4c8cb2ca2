"""Reading a Dockerfile, and the content of this project's Dockerfiles."""

from __future__ import annotations

from pathlib import Path

import dockerfile
import pytest

TOP = Path(__file__).resolve().parents[3]
WORKER = TOP / "worker-image/Dockerfile"
ALL = [
    "worker-image/Dockerfile",
    "operator/Dockerfile",
    "examples/kubernetes/Dockerfile",
    "e2e/images/postgres/Dockerfile",
]


def test_only_the_last_stage_counts() -> None:
    settings = dockerfile.read("FROM a AS b\nENV X=1\nUSER root\nFROM c\nENV Y=2\n", {})
    assert (settings.environment, settings.plain) == ({"Y": "2"}, {})


def test_lines_go_on_and_comments_are_left_out() -> None:
    text = "FROM a\n# one\nENV A=1 \\\n    # between\n    B='two words'\n"
    assert dockerfile.read(text, {}).environment == {"A": "1", "B": "two words"}


def test_build_arguments_are_put_in_or_else_their_defaults() -> None:
    text = 'ARG EARLY=e\nFROM a\nARG EARLY\nARG V=dev\nLABEL v="${V}" e=$EARLY n="${NONE:-x}"\n'
    assert dockerfile.read(text, {}).labels == {"v": "dev", "e": "e", "n": "x"}
    assert dockerfile.read(text, {"V": "1.0", "EARLY": "late"}).labels == {"v": "1.0", "e": "late", "n": "x"}


def test_a_file_s_instructions_are_left_to_the_caller() -> None:
    text = 'FROM a\nRUN x=1 \\\n  && echo "$x"\nCOPY --from=b /c /d\nEXPOSE 80 81/udp\nSTOPSIGNAL SIGINT\n'
    settings = dockerfile.read(text, {})
    assert settings.plain == {"StopSignal": "SIGINT"}
    assert settings.ports == ["80/tcp", "81/udp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\nENTRYPOINT currant worker\n", "write ENTRYPOINT as a list"),
        ("FROM a\nENV A 1\n", "write NAME=VALUE, not 'A'"),
        ("FROM a\nVOLUME /data\n", "VOLUME is not known"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(text: str, message: str) -> None:
    with pytest.raises(dockerfile.DockerfileError, match=message):
        dockerfile.read(text, {})


def test_the_worker_image_runs_currant_under_an_init_as_a_user_who_is_not_root() -> None:
    config = dockerfile.read(WORKER.read_text(), {}).applied_to({})
    assert config["Entrypoint"] == ["tini", "--", "currant"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/app"
    assert {"PYTHONPATH=/app", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"} <= set(config["Env"])


@pytest.mark.parametrize("path", ALL)
def test_no_image_ends_as_root_and_each_has_a_title(path: str) -> None:
    base = dockerfile.read(WORKER.read_text(), {}).applied_to({})
    config = dockerfile.read((TOP / path).read_text(), {}).applied_to(base)
    assert config["User"].split(":")[0] in ("10001", "999")
    assert config["Labels"]["org.opencontainers.image.title"].startswith("currant-")


@pytest.mark.parametrize("path", ALL)
def test_base_images_are_build_arguments(path: str) -> None:
    lines = (TOP / path).read_text().splitlines()
    assert all(line.split()[1].startswith("${") for line in lines if line.startswith("FROM "))
