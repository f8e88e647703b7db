"""The history of a training as TensorBoard's event files, written by TensorBoard's own package, which needs no TensorFlow."""

import io
import time
from collections.abc import Sequence
from typing import BinaryIO

from diptych.errors import ConfigError
from diptych.storage.atomic import write_atomically
from diptych.storage.history import Ending, Row, times_of
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import read_environment

try:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter
except ImportError as error:
    raise ConfigError(
        "--tensorboard needs TensorBoard: pip install 'diptych[tensorboard]', or pip install tensorboard."
    ) from error


class TensorBoardLog:
    """An event file that holds each epoch of a history once."""

    def __init__(self, run: RunDir, history: Sequence[Row]) -> None:
        """Write the epochs so far into a new file, in place of those that are there.

        A TensorBoard that looks on forgets what it has read of the old one: the new one says that a session begins.
        """
        self.created = read_environment(run)["created"]
        old = list(run.tensorboard.glob("*tfevents*"))
        beginning = io.BytesIO()
        put(beginning, Event(wall_time=time.time(), file_version="brain.Event:2"))
        put(beginning, Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))
        for row, moment in zip(history, times_of(self.created, history)[1:], strict=True):
            put(beginning, event_of(row, moment))
        # TensorBoard reads the files of a folder in the order of their names.
        path = run.tensorboard / f"events.out.tfevents.{time.time_ns():019d}.diptych"
        write_atomically(path, lambda partial: partial.write_bytes(beginning.getvalue()))
        for file in old:
            file.unlink()
        self.file = path.open("ab")

    def epoch(self, history: Sequence[Row]) -> None:
        """Add the last epoch of a history."""
        put(self.file, event_of(history[-1], times_of(self.created, history)[-1]))
        self.file.flush()

    def close(self, ending: Ending) -> None:  # noqa: ARG002
        """Close the file."""
        self.file.close()


def put(file: BinaryIO, event: Event) -> None:
    RecordWriter(file).write(event.SerializeToString())


def event_of(row: Row, moment: float) -> Event:
    """Return the figures of an epoch as scalars of 32 bits, under the names that they have in history.csv."""
    values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "epoch"]
    return Event(wall_time=moment, step=int(row["epoch"]), summary=Summary(value=values))
