"""The fixtures ``ordinary_user`` and ``nsctl``: commands run as somebody, in a known environment.

Nothing of the environment in which the tests were started reaches a command, but for what is
named here, so a test says the same on every machine.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import pytest

from support.leaks import MARKER

ORDINARY_UID: Final = 23456
"""The uid and gid of the ordinary user when root runs the tests; it has no passwd entry."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(home: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a command that a test runs.

    Which source snapshots are taken from is passed on where the tests are told to choose it.
    """
    source = os.environ.get("NSCTL_SOURCE")
    return {
        **({"NSCTL_SOURCE": source} if source else {}),
        "PATH": _PATH,
        "HOME": home,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        MARKER: os.environ[MARKER],
        **(extra or {}),
    }


class OrdinaryUser(NamedTuple):
    """Somebody who is not root, with a home and a runtime directory of their own.

    Attributes:
        uid: their uid; `ORDINARY_UID`, or whoever runs the tests when that is not root.
        gid: their only group, likewise.
        home: a directory of theirs, mode 0700, which is also where their commands start.
        runtime_dir: their XDG_RUNTIME_DIR, mode 0700.
        drops: whether root must become this user for each command.
    """

    uid: int
    gid: int
    home: str
    runtime_dir: str
    drops: bool

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of each of their commands, with a test's own additions."""
        temporary = os.path.join(self.home, "tmp")
        return clean_environment(
            self.home, {"XDG_RUNTIME_DIR": self.runtime_dir, "TMPDIR": temporary, **(extra or {})}
        )

    def start(
        self,
        *command: str | bytes,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        pass_fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a command as this user; the test ends it and waits for it."""
        return subprocess.Popen(
            command,
            env=self.environment(env),
            cwd=cwd or self.home,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            umask=0o022,
            user=self.uid if self.drops else None,
            group=self.gid if self.drops else None,
            extra_groups=[] if self.drops else None,
        )

    def run(
        self,
        *command: str | bytes,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes = b"",
        check: int | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user to its end.

        Args:
            command: program and arguments.
            env: what is added to their environment.
            cwd: where it starts; their home by default.
            stdin: what it reads.
            check: the exit status that it must have; None for any.
            timeout: seconds after which it is killed.

        Returns:
            Status and output, decoded as in `decoded`.
        """
        process = self.start(*command, env=env, cwd=cwd, stdin=subprocess.PIPE)
        return _finish(process, stdin, check, timeout)

    def python(
        self, code: str, *arguments: str, check: int | None = 0, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python snippet as this user, with nsctl importable; it must exit with 0."""
        return self.run(sys.executable, "-c", code, *arguments, check=check, timeout=timeout)


def decoded(output: bytes) -> str:
    """Output as text, byte for byte: bad UTF-8 as surrogates, and a carriage return stays one."""
    return output.decode("utf-8", "surrogateescape")


def _finish(
    process: subprocess.Popen[bytes], stdin: bytes, check: int | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    with process:
        try:
            output, errors = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(
        process.args, process.returncode, decoded(output), decoded(errors)
    )
    if check is not None and done.returncode != check:
        pytest.fail(
            f"{done.args!r} exited with {done.returncode}, not {check}\n"
            f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        )
    return done


class Nsctl(NamedTuple):
    """Runs nsctl's command line as its user would, from the environment under test.

    Attributes:
        home: HOME of the commands that root runs.
    """

    home: str

    def __call__(
        self,
        *arguments: str | bytes,
        user: OrdinaryUser | None = None,
        check: int | None = None,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``nsctl`` with these arguments.

        Args:
            arguments: what stands behind ``nsctl``.
            user: who runs it; whoever runs the tests by default.
            check: the exit status that it must have; None for any.
            env: what is added to the clean environment.
            columns: the terminal's width, as COLUMNS.
            stdin: what it reads.
            timeout: seconds after which it is killed.

        Returns:
            Status and output, decoded as in `decoded`.
        """
        command = (sys.executable, "-m", "nsctl", *arguments)
        extra = {"COLUMNS": str(columns), **(env or {})}
        if user is not None:
            return user.run(*command, env=extra, stdin=stdin, check=check, timeout=timeout)
        process = subprocess.Popen(
            command,
            env=clean_environment(self.home, extra),
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return _finish(process, stdin, check, timeout)


def _open_to_others(path: str) -> bool:
    """Whether anybody may pass through a directory and all above it."""
    path = os.path.realpath(path)
    while os.stat(path).st_mode & stat.S_IXOTH:
        if path == "/":
            return True
        path = os.path.dirname(path)
    return False


@pytest.fixture(scope="session")
def ordinary_user() -> Iterator[OrdinaryUser]:
    """Somebody who is not root: another uid when root runs the tests, else whoever runs them."""
    drops = os.geteuid() == 0
    uid, gid = (ORDINARY_UID, ORDINARY_UID) if drops else (os.geteuid(), os.getegid())
    parent = tempfile.gettempdir()
    # Root's own temporary directory may be closed to others.
    home = tempfile.mkdtemp(
        prefix="nsctl-test-home-", dir=parent if _open_to_others(parent) else "/var/tmp"
    )
    try:
        user = OrdinaryUser(uid, gid, home, os.path.join(home, "run"), drops)
        for directory in (user.runtime_dir, os.path.join(home, "tmp"), home):
            os.makedirs(directory, exist_ok=True)
            os.chmod(directory, 0o700)
            os.chown(directory, uid, gid)
        probe = user.python("import nsctl", check=None)
        if probe.returncode:
            last = probe.stderr.strip().rpartition("\n")[2]
            pytest.skip(
                f"an ordinary user cannot use the Python environment {sys.prefix} ({last}); "
                "scripts/test.sh makes one that can be used"
            )
        yield user
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def nsctl(tmp_path_factory: pytest.TempPathFactory) -> Nsctl:
    """The command line, run in processes of its own."""
    return Nsctl(str(tmp_path_factory.mktemp("home")))
