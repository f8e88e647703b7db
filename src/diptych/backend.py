"""Loading Keras and the backend below it, which takes seconds, and without the backend's own chatter."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def load_backend() -> None:
    """Import Keras on the backend that the environment variable KERAS_BACKEND names; TensorFlow without one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        with quiet_stderr():
            import keras  # noqa: F401


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep off the screen what is written to standard error; it is shown after all if an error comes.

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


def describe_device() -> str:
    """Say which backend computes, and on what."""
    import keras

    return f"{keras.backend.backend()} on {', '.join(keras.distribution.list_devices()) or 'cpu'}"
