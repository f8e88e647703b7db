"""Keep off the screen what Keras and its backends say of themselves."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from diptych.machine.host_process import changed_levels


@contextmanager
def quiet_backend() -> Iterator[None]:
    """Hide the messages of the backends while they compute for us."""
    advice = logging.getLogger("tensorflow")
    # JAX would say that there may be a card that it is not installed for, which `choose_compute` says already.
    with changed_levels({"jax._src.xla_bridge": logging.ERROR}):
        # Several networks in one process, as the folds or the maps have them, look to TensorFlow like one that is traced anew:
        # it counts the calls by their place in Keras's code.
        advice.addFilter(is_no_advice_on_tracing)
        try:
            yield
        finally:
            advice.removeFilter(is_no_advice_on_tracing)


def is_no_advice_on_tracing(record: logging.LogRecord) -> bool:
    """Tell whether a message of TensorFlow is another one than its advice on retracing, which is about code that is not ours."""
    return "tf.function retracing" not in record.getMessage()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Capture standard error; it is shown only if an error comes.

    TensorFlow's C++ code writes there past Python while it is loaded, whatever TF_CPP_MIN_LOG_LEVEL says (2.21).
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(screen, aside.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
