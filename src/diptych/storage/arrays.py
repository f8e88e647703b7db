"""Named arrays in a safetensors file, with JSON facts and checksums: data, never code. No Keras is needed to read them."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from diptych.errors import CheckpointError
from diptych.storage.atomic import FORMAT_VERSION, reason_of, write_atomically


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays by their names, with JSON facts, the format version and checksums, into a safetensors file."""
    checksums = {name: checksum(array) for name, array in arrays.items()}
    header = {"diptych": json.dumps({"format_version": FORMAT_VERSION, **facts, "crc32": checksums})}
    write_atomically(path, lambda partial: safetensors.numpy.save_file(dict(arrays), partial, header))


def checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def read_arrays(path: Path, *owners: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the facts and the arrays whose names begin with one of `owners`, in the order of their numbers.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or of an unknown format.
    """
    try:
        # safetensors calls a file that may not be read a missing one.
        path.open("rb").close()
        with safetensors.safe_open(path, framework="numpy") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["diptych"])
            version = facts["format_version"]
            names = sorted(name for name in file.keys() if name.split("/", 1)[0] in owners)  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name in names}
            checksums = facts.pop("crc32")
            changed = [name for name in names if checksum(arrays[name]) != checksums.get(name)]
            if changed:
                raise ValueError(f"{len(changed)} arrays have changed on the disk, {changed[0]} first")
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        what = reason_of(error) if isinstance(error, OSError) else f"is damaged or not a checkpoint of Diptych: {error}"
        raise CheckpointError(f"{path} {what}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: checkpoint format {version}; this version reads {FORMAT_VERSION}.")
    return facts, arrays
