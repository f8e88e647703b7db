"""A process that has imported a backend and computed nothing, and forks a new process for each program that it is asked to run.

`python fork_server.py BACKEND NUMBER`, where NUMBER is that of a socket: see warm.py, which starts it. A fork is sound as long as
the server has no threads, whose locks would stay locked in the child for ever (docs/experiments.md).
"""

import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# Of pyarrow, which pandas imports; jemalloc takes care of its locks in a fork by itself.
HARMLESS = {"jemalloc_bg_thd"}


def preload(backend: str) -> None:
    """Import what every training and every evaluation imports."""
    os.environ["KERAS_BACKEND"] = backend
    from diptych.machine.backend import load_backend

    load_backend()
    from diptych.evaluation.evaluate import evaluate
    from diptych.training.trainer import train

    assert train
    assert evaluate
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir() if task.name != str(os.getpid())]
    if not set(names) <= HARMLESS:
        sys.exit(f"After the import of {backend} there are threads, whose locks a fork does not free: {', '.join(names)}")


def serve(connection: socket.socket) -> dict[str, Any]:
    """Answer requests until there are none any more; return one only in the new process that is to be what it asks for.

    A request is a line of JSON, with four files: standard input, output and error of the new process, and where its number and
    its exit code are reported.
    """
    # Ctrl-C is for the programs alone; a watcher that has ended leaves nothing behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        line, files, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        while line and not line.endswith(b"\n"):
            line += connection.recv(1 << 16)
        if not line:
            os._exit(0)
        if os.fork() == 0:
            connection.close()
            watch(*files)
            return json.loads(line)
        for file in files:
            os.close(file)


def watch(stdin: int, stdout: int, stderr: int, report: int) -> None:
    """Fork once more, and return in the new process; this one waits for its end, reports its exit code, and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        for file in (stdin, stdout, stderr):
            os.close(file)
        _, status = os.waitpid(child, 0)
        os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    for number, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file, number)
        os.close(file)
    # A group of its own, for a test may kill it with all its children.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.write(report, f"{os.getpid()}\n".encode())
    os.close(report)


if __name__ == "__main__":
    preload(sys.argv[1])
    asked = serve(socket.socket(fileno=int(sys.argv[2])))
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    # As for `python -m` and `python -c`.
    sys.path[0] = asked["folder"] if asked["code"] is None else ""
    sys.path[1:1] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place and place not in sys.path]
    sys.argv = ["-c", *asked["arguments"]]
    # Not within a function: the interpreter then ends this process as it ends any other.
    if asked["code"] is None:
        runpy.run_module("diptych", run_name="__main__", alter_sys=True)
    else:
        exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})
