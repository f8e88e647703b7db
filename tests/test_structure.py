"""The house stands as DESIGN.md draws it: rooms import rooms before them, and the first import is light."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
from making import REPOSITORY, needs, run_python

PACKAGE = REPOSITORY / "src" / "diptych"
# Rooms import only rooms to their left; inside a room, files make no circle. A file outside the folders is a room of its own.
ROOMS = """
version errors rng screen html settings storage drawing machine data.pixels data.reading data.audit data model metrics
inference training.steps training.tracking training explanation evaluation tuning experiments api sklearn commands cli
""".split()  # noqa: SIM905
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


MODULES = [file for file in FILES if file.name not in ("__init__.py", "__main__.py")]


def imports_of(source: str) -> list[str]:
    """Return the full name of whatever a source imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return found


def room_of(name: str) -> str:
    """Return the innermost room that a file is in: of `data.pixels.cache`, `data.pixels`."""
    rooms = [room for room in ROOMS if f"{name}.".startswith(f"{room}.")]
    return max(rooms, key=len, default=name)


def modules_imported(source: str) -> set[str]:
    """Return the files of Diptych that a source imports; "diptych" stands for its lazy public names, which no file may use."""
    names = {name_of(file) for file in MODULES}
    found = set()
    for imported in imports_of(source):
        if imported.startswith("."):
            found.add(imported)
        elif imported.partition(".")[0] == "diptych":
            inner = imported.partition(".")[2]
            found.add(next((name for name in (inner, inner.rpartition(".")[0]) if name in names), "diptych"))
    return found


def wrong_imports(name: str, source: str) -> list[str]:
    """Return what a file of Diptych imports from a room after its own."""
    allowed = set(ROOMS[: ROOMS.index(room_of(name)) + 1])
    return sorted(imported for imported in modules_imported(source) if room_of(imported) not in allowed)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return files that import each other in a circle, if there are any."""
    left = dict(arrows)
    while left:
        free = [name for name, imported in left.items() if not imported & left.keys()]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]
    return []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from diptych.errors import DataError\nimport numpy, diptych.settings.config", []),
        ("from diptych.data.pixels import decode", []),
        ("from diptych.data.loader import BatchLoader", []),
        ("from diptych.training.loop import EpochLoop", ["training.loop"]),
        ("def f():\n    from diptych.cli import main", ["cli"]),
        ("import diptych", ["diptych"]),
        ("from diptych import train", ["diptych"]),
        ("from . import loader", ["..loader"]),
    ],
)
def test_wrong_imports__are_seen(source: str, wrong: list[str]) -> None:
    assert wrong_imports("data.preview", source) == wrong


def test_wrong_imports__of_a_room_inside_a_room() -> None:
    source = "from diptych.data.loader import BatchLoader\nfrom diptych.data.reading.tables import read_table"
    assert wrong_imports("data.audit.page", source) == ["data.loader"]


def test_circle__is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b", "e"}, "b": {"e"}, "e": set()}) == []


def test_files__are_all_in_a_room() -> None:
    assert len(MODULES) > 20
    assert {room_of(name_of(file)) for file in MODULES} == set(ROOMS)


def test_contributing__lists_the_rooms_in_their_order() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    assert [room for row in rows for room in re.findall(r"`([a-z._]+)`", row)] == ROOMS


def test_imports__make_no_circle() -> None:
    assert circle({name_of(file): modules_imported(file.read_text(encoding="utf-8")) for file in MODULES}) == []


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports__come_from_rooms_before(file: Path) -> None:
    assert wrong_imports(name_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports__name_no_backend(file: Path) -> None:
    tops = {imported.partition(".")[0] for imported in imports_of(file.read_text(encoding="utf-8"))}
    assert name_of(file) == "machine.backend" or tops.isdisjoint({"tensorflow", "jax", "torch"})


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "__init__.py" and file.parent != PACKAGE], ids=name_of)
def test_init_files__hold_a_docstring_alone(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def readers_of_images(source: str) -> list[str]:
    """Return what a source names of the functions of libraries that turn the bytes of an image into pixels."""
    names = {
        "imdecode",
        "imdecodemulti",
        "imread",
        "imreadmulti",
        "decode_jpeg",
        "load_img",
        "TiffFile",
        "open_heif",
    }
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (node.attr in names or ast.unparse(node).endswith("Image.open")):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            pillow = (node.module or "").startswith("PIL")
            found += [alias.name for alias in node.names if alias.name in names or (pillow and alias.name == "open")]
    return found


def test_readers_of_images__are_seen() -> None:
    source = """
import cv2, tifffile, PIL.Image
from PIL import Image
from PIL.Image import open as read
from cv2 import imread
def f(path):
    return Image.open(path), PIL.Image.open(path), cv2.imdecode(path), tifffile.TiffFile(path), path.open(), Image.fromarray(path)
"""
    found = ["Image.open", "PIL.Image.open", "cv2.imdecode", "imread", "open", "tifffile.TiffFile"]
    assert sorted(readers_of_images(source)) == found


def test_bytes__become_pixels_in_one_file() -> None:
    """A training, a test and an answer see the same pixels only where one function decodes for all of them."""
    found = {name_of(file): readers_of_images(file.read_text(encoding="utf-8")) for file in FILES}
    assert [name for name, readers in found.items() if readers] == ["data.pixels.decode"]


def test_pages__have_one_head_with_one_security_policy() -> None:
    pages = {file.name: file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.html")}
    assert set(pages) == {"page.html", "report.html", "folds.html"}
    for page in pages.values():
        assert page.count("{{ head(") == 1
        assert "<head>" not in page
        assert "Content-Security-Policy" not in page


@pytest.mark.parametrize("file", ["data/pixels/README.md", "data/audit/README.md", "training/README.md"])
def test_readme__stands_beside_what_is_hard_and_contributing_links_it(file: str) -> None:
    """The pixel cache, the search for near duplicates and resume each have a protocol that the code alone does not show."""
    assert len((PACKAGE / file).read_text(encoding="utf-8")) > 1000
    assert f"(src/diptych/{file})" in (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_functions__take_at_most_six_arguments_by_place() -> None:
    """A seventh is given by its name, so that a call can be read and two numbers cannot change places."""
    found = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [each.arg for each in node.args.posonlyargs + node.args.args]
                if len(names) - (names[:1] in (["self"], ["cls"])) > 6:
                    found.append(f"{name_of(file)}.{node.name}")
    assert found == []


@pytest.mark.parametrize("door", ["train.py", "evaluate.py", "plot_results.py"])
def test_doors__are_under_ten_lines(door: str) -> None:
    assert len((REPOSITORY / door).read_text(encoding="utf-8").splitlines()) < 10


def test_import_diptych__is_light() -> None:
    heavy = {"keras", "tensorflow", "numpy", "pandas", "PIL"}
    code = f"import sys, diptych; print(sorted({heavy} & set(sys.modules)), diptych.__version__)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] ")


def test_answering_with_a_decision__needs_neither_keras_nor_scikit_learn_nor_pandas() -> None:
    heavy = {"keras", "tensorflow", "torch", "jax", "sklearn", "scipy", "pandas"}
    parts = ("decision", "prediction_table", "outliers", "tta")
    code = f"""
import sys
import numpy as np
{"; ".join(f"import diptych.inference.{part} as {part}" for part in parts)}
found = outliers.Outliers(np.eye(3, 8, dtype=np.float32), 1, 0.5, "", 0)
scores = found.scores(np.ones((2, 8), np.float32))
rule = decision.Decision(temperature=2.0, threshold=0.4)
columns = prediction_table.prediction_columns(np.array([[0.1, 0.9], [0.8, 0.2]]), ("a", "b"), rule, scores, found.limit)
print(sorted({heavy} & set(sys.modules)), *columns["predicted_class"], *columns["outlier"])
"""
    done = run_python("-c", code)
    assert done.stdout == "[] b a True True\n", done.stderr


def test_diptych__unknown_name_is_an_attribute_error() -> None:
    import diptych

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        diptych.nothing  # noqa: B018


def test_diptych__dir_names_what_one_needs_and_nothing_else() -> None:
    import diptych

    assert {"train", "evaluate", "predict", "Config", "DataConfig", "TrainingConfig", "show_messages"} <= set(dir(diptych))
    assert "importlib" not in dir(diptych)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason=needs("torch"))
def test_diptych__public_names_find_the_backend_that_is_installed() -> None:
    """As after `pip install diptych[torch]`: no TensorFlow."""
    code = """
import os, sys
os.environ.pop("KERAS_BACKEND", None)  # Set where this process has loaded Keras.
from importlib.machinery import PathFinder
class WithoutTensorflow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "tensorflow" else PathFinder.find_spec(name, path, target)
sys.meta_path = [WithoutTensorflow if finder is PathFinder else finder for finder in sys.meta_path]
import diptych
print(diptych.predict.__name__, diptych.build_network.__name__, sys.modules["keras"].backend.backend())
"""
    done = run_python("-c", code)
    assert done.stdout == "predict build_network torch\n", done.stderr


@pytest.mark.slow
def test_diptych__every_public_name_resolves() -> None:
    code = "import diptych\nfor name in diptych.__all__:\n    print(name, getattr(diptych, name) is not None)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    import diptych

    assert done.stdout.splitlines() == [f"{name} True" for name in diptych.__all__]
