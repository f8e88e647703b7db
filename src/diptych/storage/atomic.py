"""Files that are written aside, synced and renamed, so that no reader ever sees half of one."""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from diptych.errors import CheckpointError, ConfigError
from diptych.settings.config import at_home

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

FORMAT_VERSION = 1
PathLike = str | os.PathLike[str]
# What is being written: by the process of this number. The same of a folder that is being filled.
PARTIAL = re.compile(r"\.partial-(\d+)[.-]")
ABANDONED_SECONDS = 3600
# Between the tries of a rename; about a second in all.
RENAME_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file in a folder beside `path`, sync it, and move it into place: `path` is never half written.

    What a writer leaves beside its file when it is killed (safetensors, a file of its own) lies in that folder too, which
    `tidy` deletes.

    Args:
        path: where the file shall stand; its folder is made if need be. It has the mode that any new file has here.
        write: is given the path to write to, whose name is that of `path`.

    Raises:
        OSError: the disk is full or the folder cannot be written; it names `path`, which is as it was.
    """
    aside = path.with_name(f".partial-{os.getpid()}-{path.name}")
    partial = aside / path.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        delete(aside)
        aside.mkdir()
        try:
            write(partial)
            # safetensors makes files that their owner alone may read (0.8).
            partial.chmod(aside.stat().st_mode & 0o666)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            rename(partial, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except Exception as error:
        # A full disk has no file name in Python, and is an error of their own in safetensors and HDF5.
        found = re.search(r"(?:os error|errno =) (\d+)", str(error))
        number = getattr(error, "errno", None) or (int(found[1]) if found else None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def rename(source: Path, target: Path) -> None:
    """Rename a file, over another one if need be, or a folder.

    On Windows this is refused while a virus scanner or an indexer looks at either of them, which takes a moment: it is tried
    again for about a second.
    """
    for seconds in RENAME_PAUSES:
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    source.replace(target)


def delete(path: Path) -> None:
    """Delete a file or a folder, where it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def is_abandoned(path: Path) -> bool:
    """Tell of a half-written file or folder, ".partial-NUMBER-NAME", whether the process of that number is gone."""
    found = PARTIAL.match(path.name)
    # In a container, the process before may have had the number of this one.
    if found is None or int(found[1]) == os.getpid():
        return found is not None
    if sys.platform == "win32":
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def is_old(path: Path) -> bool:
    """Tell whether nothing was written to a file or folder for an hour, as no write takes."""
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def reason_of(error: Exception) -> str:
    """Explain why a file cannot be read: "is missing", "cannot be read: permission denied", or "is damaged" and how."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    return f"is damaged: {error!r}"


def why_unwritable(folder: Path) -> str:
    """Explain why no file can be made in a folder, which need not be there yet; "" if it is possible. Nothing is left behind."""
    # os.path.lexists: what lies below a folder of somebody else is not there for us, where Path.exists is an error.
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{folder} cannot be made: {nearest} is a file, no folder."
    # A read-only file system answers no here to the administrator too.
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{folder} cannot be written: no permission in {nearest.absolute()}, or it is read-only."
    try:
        # Some file systems say yes and mean no. A file without a name leaves nothing behind.
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror or error}."


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda partial: partial.write_bytes(text.encode("utf-8")))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinities are refused, for JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, convert: Callable[[dict[str, Any]], T], mend: str) -> T:
    """Read a JSON object that Diptych wrote, with its `format_version`.

    Args:
        path: the file.
        convert: makes of its content what is returned; what is wrong with that is a KeyError, TypeError or ValueError.
        mend: a sentence on what to do about a damaged file.

    Raises:
        CheckpointError: it is missing, damaged, or of a format that this version does not know.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
        if version == FORMAT_VERSION:
            return convert(content)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} {reason_of(error)}. {mend}") from error
    raise CheckpointError(f"{path}: format {version}; this version of Diptych reads {FORMAT_VERSION}.")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV atomically, without its index."""
    write_text(path, table.to_csv(index=False))


def refuse_unwritable(folder: Path, mend: str) -> None:
    """Raise a ConfigError where no file can be made in a folder, before the work whose result shall lie there.

    Args:
        folder: as `why_unwritable`.
        mend: what to do about it.
    """
    reason = why_unwritable(folder)
    if reason:
        raise ConfigError(f"{reason} {mend}")


def as_paths(paths: object) -> list[Path]:
    """Return the paths that a caller gives as text, as a path, or as several of these; "~" is the home folder.

    Raises:
        TypeError: they are anything else.
        ConfigError: there is no home folder.
    """
    if isinstance(paths, str | os.PathLike):
        return [at_home(Path(paths))]
    if not isinstance(paths, Iterable) or isinstance(paths, bytes):
        raise TypeError(f"expected a path (text or pathlib.Path) or several of them; got {paths!r}, a {type(paths).__name__}")
    found = list(paths)
    for path in found:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"expected paths (text or pathlib.Path); got {path!r} among them, a {type(path).__name__}")
    return [at_home(Path(path)) for path in found]


def as_path(path: object) -> Path:
    """Return the one path that a caller gives as text or as a path; raises what `as_paths` raises, also for a list."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected one path (text or pathlib.Path); got {path!r}, a {type(path).__name__}")
    return as_paths(path)[0]


def as_optional_path(path: object) -> Path | None:
    """Return `as_path` of what is not None."""
    return None if path is None else as_path(path)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
