"""Processes that have imported their backend before they begin, which would take each of them four seconds."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType

from making import REPOSITORY

from diptych.machine.devices import best_backend, graphics_cards

SERVER = REPOSITORY / "tests" / "fork_server.py"


@cache
def server(backend: str) -> socket.socket:
    """Start the server of a backend, which lives as long as this process; return what it is asked through."""
    ours, its = socket.socketpair()
    with its:
        command = [sys.executable, str(SERVER), backend, str(its.fileno())]
        # The fewer arenas, the less memory is set aside that nobody uses: a test sets a limit to it. OpenBLAS would start its
        # threads as soon as NumPy is imported.
        own = {"PYTHONPATH": str(REPOSITORY / "src"), "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, env={**os.environ, **own}, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


def backend_of(arguments: list[str], environment: dict[str, str]) -> str:
    """The backend that `diptych ARGUMENTS` computes on."""
    if "--backend" in arguments:
        return arguments[arguments.index("--backend") + 1]
    return environment.get("KERAS_BACKEND") or best_backend(graphics_cards())[0]


class Warm:
    """`python -m diptych ARGUMENTS` or `python -c CODE ARGUMENTS`, with what tests need of `subprocess.Popen`.

    It has a process group of its own, and obeys Ctrl-C.
    """

    def __init__(
        self,
        *arguments: object,
        folder: Path,
        environment: dict[str, str],
        code: str | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start it.

        Args:
            arguments: of the command line.
            folder: where it starts.
            environment: all its variables.
            code: a program of Python to run instead of Diptych's.
            stdout: the number of an open file for what it says; None to get it from `communicate`.
            stderr: the same for its errors.
        """
        self.args = [str(argument) for argument in arguments]
        self.returncode: int | None = None
        self._said = [tempfile.TemporaryFile("w+", encoding="utf-8") for file in (stdout, stderr) if file is None]  # noqa: SIM115
        kept = iter(self._said)
        files = [next(kept).fileno() if file is None else file for file in (stdout, stderr)]
        ours, its = os.pipe()
        self._report = os.fdopen(ours, "r")
        request = {"arguments": self.args, "folder": str(folder), "environment": environment, "code": code}
        line = json.dumps(request).encode() + b"\n"
        connection = server(backend_of(self.args, environment))
        with Path(os.devnull).open() as nothing:
            sent = socket.send_fds(connection, [line], [nothing.fileno(), *files, its])
        connection.sendall(line[sent:])
        os.close(its)
        self.pid = int(self._report.readline())

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._report:
                self.returncode = int(self._report.readline())
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout: float | None = None) -> tuple[str, ...]:
        """Wait for its end, and return what it wrote to standard output and to standard error, as far as it had no files."""
        self.wait(timeout)
        said = []
        for stream in self._said:
            with stream:
                stream.seek(0)
                said.append(stream.read())
        return tuple(said)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for its end, as Popen does; after an error, end it."""
        if error is not None:
            self.kill()
        self.wait()
        for stream in self._said:
            stream.close()
