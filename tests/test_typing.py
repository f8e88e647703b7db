"""Editors and type checkers see the types of the public names, and refuse what does not fit."""

import os
import subprocess
import sys

import pytest
from making import REPOSITORY


@pytest.mark.slow
def test_mypy__sees_the_types_of_the_public_names() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typing/public.py"]
    found = os.environ | {"MYPYPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, cwd=REPOSITORY, env=found, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout


def test_public_names__are_those_that_editors_see() -> None:
    """What stands in `if TYPE_CHECKING` is what can be loaded, name by name."""
    import ast

    import diptych

    tree = ast.parse((REPOSITORY / "src" / "diptych" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names} | {"__version__"}
    assert seen == set(diptych.__all__)
