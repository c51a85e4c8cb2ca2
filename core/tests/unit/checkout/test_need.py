"""scripts/need.sh on machines that lack something: what it installs, refuses and leaves out. The machines are a PATH of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import programs
from support import CHECKOUT

NEED = CHECKOUT / "scripts/need.sh"
BASICS = (
    "bash",
    "sh",
    "env",
    "sed",
    "sort",
    "cut",
    "rm",
    "chmod",
    "mkdir",
    "cat",
    "awk",
    "mktemp",
    "dirname",
    "true",
    "cp",
)
TOOLS = re.findall(r"^        ([a-z0-9 |]+)\) .*(?:packages|advice)=", NEED.read_text(), re.MULTILINE)


class Machine:
    """A machine of which only `BASICS` and what a test adds can be found."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.bin = place / "bin"
        self.left_out = place / "left-out"
        self.log = place / "log"
        for directory in (self.bin, self.root / "usr/sbin"):
            directory.mkdir(parents=True)
        for name in BASICS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.be("root")
        self.checkout = place / "checkout"  # without a virtual environment, which has a Python, and may have a Go
        for name in ("scripts/need.sh", "scripts/leave-out.sh", "core/Cargo.toml", "e2e/tools/go.mod"):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, self.checkout / name)

    def add(self, name: str, script: str = "", where: Path | None = None) -> None:
        """A program that does what the shell script says."""
        path = (where or self.bin) / name
        path.write_text(f"#!{self.bin}/bash\n{script}\n")
        path.chmod(0o755)

    def be(self, user: str) -> None:
        """Who runs on it."""
        self.add("id", f"echo {0 if user == 'root' else 1000}")

    def add_apt(self, *packages: str) -> None:
        """A Debian: each of its packages brings a program of the same name, others are not known."""
        self.log.touch()
        self.add(
            "apt-get",
            f"""echo "$* policy=$([ -x {self.root}/usr/sbin/policy-rc.d ] && echo yes)" >>{self.log}
[ "$1" = install ] || [[ " $* " = *" install "* ]] || exit 0
for word in "$@"; do
    for known in {" ".join(packages)}; do
        [ "$word" = "$known" ] || continue
        printf '#!{self.bin}/bash\\n' >{self.root}/usr/sbin/$word && chmod 755 {self.root}/usr/sbin/$word && exit 0
    done
done
echo "E: Unable to locate package" >&2; exit 100""",
        )

    def need(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run need.sh there."""
        environment = {
            "PATH": str(self.bin),
            "SYSTEM_ROOT": str(self.root),
            "LEFT_OUT": str(self.left_out),
            **variables,
        }
        return subprocess.run(
            [self.bin / "bash", self.checkout / "scripts/need.sh", *words],
            env=environment,
            capture_output=True,
            text=True,
        )

    def notes(self) -> list[str]:
        """What `make` says in its last line."""
        return self.left_out.read_text().splitlines() if self.left_out.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_there_is_not_spoken_of(machine: Machine) -> None:
    machine.add("cc")
    machine.add("pgbouncer", where=machine.root / "usr/sbin")
    done = machine.need("compiler", "pgbouncer")
    assert (done.returncode, done.stdout, done.stderr, machine.notes()) == (0, "", "", [])


@pytest.mark.parametrize("ci", ["", "true"])
def test_root_on_debian_installs_what_is_missing_and_no_service_starts(machine: Machine, ci: str) -> None:
    machine.add_apt("pgbouncer")
    done = machine.need("pgbouncer", CI=ci)
    assert (done.returncode, done.stdout, machine.notes()) == (0, "need: installing pgbouncer ...\n", [])
    update, install = machine.log.read_text().splitlines()
    assert update.startswith("update")
    assert "pgbouncer" in install
    assert install.endswith("policy=yes")
    assert not (machine.root / "usr/sbin/policy-rc.d").exists()


def test_a_policy_that_somebody_has_made_stays(machine: Machine) -> None:
    machine.add_apt("pgbouncer")
    machine.add("policy-rc.d", "exit 0", where=machine.root / "usr/sbin")
    assert machine.need("pgbouncer").returncode == 0
    assert "exit 0" in (machine.root / "usr/sbin/policy-rc.d").read_text()


@pytest.mark.parametrize("user", ["ann", "root"])
def test_what_only_some_tests_need_is_left_out_with_a_line_that_says_how_to_get_it(machine: Machine, user: str) -> None:
    machine.be(user)
    machine.add_apt()  # a Debian without that package, where root may try
    done = machine.need("pgbouncer", "faketime")
    assert done.returncode == 0
    lines = [
        "what runs behind PgBouncer (apt-get install pgbouncer)",
        "workers whose clock is set (apt-get install libfaketime)",
    ]
    assert machine.notes() == lines
    assert [line for line in done.stdout.splitlines() if line.startswith("NOT TESTED")] == [
        f"NOT TESTED: {line}" for line in lines
    ]
    assert ("install" in machine.log.read_text()) == (user == "root")


def test_without_debian_it_is_left_out_too(machine: Machine) -> None:
    assert machine.need("prometheus").returncode == 0
    assert machine.notes() == ["the dashboard's and the alerts' queries, by Prometheus (apt-get install prometheus)"]


def test_half_of_prometheus_is_none(machine: Machine) -> None:
    machine.add("prometheus")
    assert machine.need("--is-there", "prometheus").returncode == 1
    machine.add("promtool")
    assert machine.need("--is-there", "prometheus").returncode == 0


def test_in_ci_nothing_is_left_out(machine: Machine) -> None:
    machine.be("runner")
    done = machine.need("pgbouncer", CI="true")
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: pgbouncer is missing, or too old, and cannot be installed here: apt-get install pgbouncer\n"
    )
    assert machine.notes() == []


def test_in_ci_one_who_may_become_root_installs(machine: Machine) -> None:
    machine.be("runner")
    machine.add_apt("pgbouncer")
    machine.add("sudo", '[ "$1" = -n ] && shift; exec "$@"')
    assert machine.need("pgbouncer").returncode == 0
    assert machine.notes() != []  # on somebody's laptop it does not
    assert machine.need("pgbouncer", CI="true").returncode == 0
    assert machine.need("--is-there", "pgbouncer").returncode == 0


def test_everything_that_is_necessary_and_missing_is_said_at_once(machine: Machine) -> None:
    machine.be("ann")
    done = machine.need("compiler", "cargo", "pgbouncer")
    assert done.returncode == 1
    assert "installing" not in done.stdout  # which it could not
    compiler, cargo = done.stderr.splitlines()
    assert compiler.endswith("cannot be installed here: apt-get install gcc libc6-dev")
    assert re.search(r"cargo is missing, or too old.*: install Rust 1\.\d+ or later: https://rustup\.rs$", cargo)


@pytest.mark.parametrize(
    ("version", "enough"), [("1.9.0", False), ("1.89.1", False), ("1.90.0", True), ("2.0.0", True)]
)
def test_a_rust_that_is_too_old_is_none(machine: Machine, version: str, enough: bool) -> None:
    machine.add("cargo", f"echo 'cargo {version} (abc 2026-01-01)'")
    assert machine.need("--is-there", "cargo").returncode == (0 if enough else 1)


@pytest.mark.parametrize(("version", "enough"), [("go1.9", False), ("go1.99.1", True)])
def test_a_go_that_is_too_old_is_none(machine: Machine, version: str, enough: bool) -> None:
    machine.add("go", f"echo {version}")
    assert machine.need("--is-there", "go").returncode == (0 if enough else 1)


def test_a_minimal_rust_leaves_out_the_checks_that_it_lacks(machine: Machine) -> None:
    machine.add("cargo", '[ "$1" = --version ] && echo "cargo 1.99.0" || exit 101')
    assert machine.need("cargo", "rustfmt", "clippy").returncode == 0
    assert machine.notes() == [
        f"{name} on the Rust code (rustup component add {name})" for name in ("rustfmt", "clippy")
    ]


def test_sqlx_cli_is_installed_by_cargo_in_the_version_of_the_crate(machine: Machine) -> None:
    machine.add(
        "cargo",
        f'[ "$1" = --version ] && echo "cargo 1.99.0" && exit\necho "$*" >>{machine.log}\ncp {machine.bin}/cargo .venv/bin/cargo-sqlx',
    )
    (machine.checkout / ".venv/bin").mkdir(parents=True)
    (machine.checkout / ".venv/.created").touch()
    done = machine.need("sqlx")
    assert done.stdout == "need: installing sqlx-cli into .venv (some minutes) ...\n"
    assert "--locked --root .venv sqlx-cli --version ^0." in machine.log.read_text()
    assert done.returncode == 0


def test_without_cargo_it_is_said_how_to_get_sqlx_cli(machine: Machine) -> None:
    done = machine.need("sqlx")
    assert done.returncode == 1
    assert (
        "error: sqlx is missing, or too old, and cannot be installed here: cargo install sqlx-cli --version '^0."
        in done.stderr
    )


def test_what_a_cluster_needs_is_not_left_out(machine: Machine) -> None:
    machine.be("ann")
    done = machine.need("--or-error", "openssl")
    assert (done.returncode, machine.notes()) == (1, [])
    assert machine.need("openssl").returncode == 0
    assert machine.notes() == ["the operator and the chart on an API server (apt-get install openssl)"]


def test_a_python_that_is_too_old_or_lacks_venv_is_none(machine: Machine) -> None:
    machine.add("python3", "exit 1")
    assert (machine.need("--python").stdout, machine.need("--is-there", "python").returncode) == ("", 1)
    machine.add("python3.11", f'exec {sys.executable} "$@"')
    assert machine.need("--python").stdout == "python3.11\n"
    assert machine.need("--python", PYTHON=sys.executable).stdout == f"{sys.executable}\n"
    assert machine.need("--is-there", "python").returncode == 0


def test_a_tool_that_is_not_known_is_a_mistake(machine: Machine) -> None:
    done = machine.need("pgbuoncer")
    assert (done.returncode, done.stderr) == (2, "need.sh: no tool pgbuoncer is known\n")


def test_ci_and_make_ask_for_tools_that_are_known_and_install_nothing_themselves() -> None:
    known = {name for group in TOOLS for name in group.split(" | ")}
    assert {"python", "cargo", "go", "pgbouncer", "prometheus", "faketime"} <= known
    scripts = [CHECKOUT / ".ci/run", CHECKOUT / "Makefile", *(CHECKOUT / "scripts").glob("*.sh")]
    asked = set()
    for path in set(scripts) - {NEED}:
        text = re.sub(r"#.*", "", path.read_text())
        assert "apt-get install" not in re.sub(r'".*?"', "", text), path
        for words in re.findall(r"(?:scripts/need\.sh|\$\(NEED\)) ((?:--or-error |--is-there )?[a-z0-9 ]+)", text):
            asked |= {word for word in words.split() if not word.startswith("--")}
    assert asked - {"tool"} <= known
    assert {"python", "cargo", "pgbouncer", "prometheus", "faketime", "postgres15"} <= asked


class TestTimed:
    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [CHECKOUT / "scripts/timed.sh", "test", "bash", "-c", script]
        environment = {"PATH": f"{CHECKOUT / 'scripts'}:/usr/bin:/bin", **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def test_the_last_line_says_once_what_was_left_out(self) -> None:
        done = self.run(
            "leave-out.sh PgBouncer 'get it'; leave-out.sh Go 'get that'; leave-out.sh PgBouncer 'get it'; exit 3"
        )
        assert done.returncode == 3
        verdict, last = done.stdout.splitlines()[-2:]
        assert verdict.startswith("make test: FAILED (exit 3)")
        assert last == "make test: NOT TESTED: PgBouncer (get it); Go (get that)"

    def test_where_nothing_was_left_out_the_verdict_is_the_last_line(self) -> None:
        done = self.run("echo hello")
        assert re.fullmatch(r"hello\nmake test: ok, 0 min \d\d s\n", done.stdout)

    def test_a_command_within_another_leaves_it_to_the_outer_one(self, tmp_path: Path) -> None:
        done = self.run("leave-out.sh Go 'get it'", LEFT_OUT=str(tmp_path / "outer"))
        assert "make test: NOT TESTED" not in done.stdout
        assert (tmp_path / "outer").read_text() == "Go (get it)\n"


class TestPrograms:
    @pytest.fixture(autouse=True)
    def _nothing_there(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(programs, "SYSTEM_ROOT", str(tmp_path))

    def test_a_test_without_its_program_is_skipped_and_no_warning_becomes_an_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="pgbouncer is not installed.*apt-get install pgbouncer"):
            programs.needed("pgbouncer", "apt-get install pgbouncer")

    def test_in_ci_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="apt-get install prometheus"):
            programs.needed("promtool", "apt-get install prometheus")

    def test_debians_place_for_servers_is_looked_at(self, tmp_path: Path) -> None:
        program = tmp_path / "usr/sbin/pgbouncer"
        program.parent.mkdir(parents=True)
        program.touch(0o755)
        assert programs.needed("pgbouncer", "apt-get install pgbouncer") == str(program)
