"""The house stands as DESIGN.md draws it: imports go down one list, files are short, and the first import is light."""

import ast
from pathlib import Path

import pytest
from making import REPOSITORY, run_python

PACKAGE = REPOSITORY / "src" / "diptych"
# A file imports only from files above it in this list.
ORDER = """
errors rng config presets pages devices memory backend storage runs environment
data.images data.tables data.manifest data.folders data.listings data.layouts data.fixes
data.cache data.store data.decoding data.prepare data.waves data.twins data.shortcuts data.quality
data.findings data.audit data.page data.check
data.splits data.folds data.load data.augment data.loader data.preview data.samples
model.resnet model.convnet model.attention model.network
training.recipes training.optim training.averaging training.batches training.spread training.checkpoint training.weights
training.state training.tensorboard_log training.mlflow_log training.tracking training.signals
training.snapshots training.resume training.rules training.estimate training.callbacks
training.settling training.loop training.fit training.trainer training.folds training.verify
training.rates training.find_lr training.space training.trials training.study training.tune
evaluation.scores evaluation.intervals evaluation.calibration evaluation.thresholds evaluation.decision evaluation.metrics
evaluation.views evaluation.outliers evaluation.predictions evaluation.parts evaluation.taps evaluation.saliency
evaluation.faithfulness evaluation.sanity evaluation.tested evaluation.paired evaluation.subgroups evaluation.power_law
evaluation.labels evaluation.plots evaluation.overlays evaluation.curves evaluation.facts evaluation.summary
evaluation.page evaluation.pictures evaluation.report evaluation.explain evaluation.folds evaluation.compare evaluation.series
evaluation.ablation evaluation.learning_curve
serving.artifact serving.export serving.predictor serving.app
scaleout
commands.data commands.training commands.search commands.testing commands.explaining commands.comparing cli
""".split()  # noqa: SIM905
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 250


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


def wrong_imports(name: str, source: str) -> list[str]:
    """Return what a file of Diptych imports that is not above it in the list."""
    above = ORDER[: ORDER.index(name)]
    inner = [imported for imported in imports_of(source) if imported.startswith((".", "diptych"))]
    return [
        imported
        for imported in inner
        if not any(imported == f"diptych.{module}" or imported.startswith(f"diptych.{module}.") for module in above)
    ]


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from diptych.errors import DataError\nimport numpy, diptych.config", []),
        ("from diptych.data import images", []),
        ("from diptych.data.loader import BatchLoader", ["diptych.data.loader.BatchLoader"]),
        ("def f():\n    from diptych.cli import main", ["diptych.cli.main"]),
        ("import diptych", ["diptych"]),
        ("from diptych import train", ["diptych.train"]),
        ("from . import loader", ["..loader"]),
        ("from diptych.data.prepare import prepare", ["diptych.data.prepare.prepare"]),
    ],
)
def test_wrong_imports__are_seen(source: str, wrong: list[str]) -> None:
    assert wrong_imports("data.prepare", source) == wrong


def test_files__are_all_in_the_list() -> None:
    assert len(MODULES) > 20
    assert {name_of(file) for file in MODULES} <= set(ORDER)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports__go_down_the_list_only(file: Path) -> None:
    assert wrong_imports(name_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports__name_no_backend(file: Path) -> None:
    tops = {imported.partition(".")[0] for imported in imports_of(file.read_text(encoding="utf-8"))}
    assert name_of(file) == "backend" or tops.isdisjoint({"tensorflow", "jax", "torch"})


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files__are_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "__init__.py" and file.parent != PACKAGE], ids=name_of)
def test_init_files__hold_a_docstring_alone(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("door", ["train.py", "evaluate.py", "plot_results.py"])
def test_doors__are_under_ten_lines(door: str) -> None:
    assert len((REPOSITORY / door).read_text(encoding="utf-8").splitlines()) < 10


def test_import_diptych__is_light() -> None:
    heavy = {"keras", "tensorflow", "numpy", "pandas", "PIL"}
    code = f"import sys, diptych; print(sorted({heavy} & set(sys.modules)), diptych.__version__)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] ")


def test_diptych__unknown_name_is_an_attribute_error() -> None:
    import diptych

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        diptych.nothing  # noqa: B018


def test_diptych__dir_is_the_public_names() -> None:
    import diptych

    assert dir(diptych) == sorted(diptych.__all__)
    assert {"train", "evaluate", "predict", "Config", "__version__"} <= set(dir(diptych))


@pytest.mark.slow
def test_diptych__every_public_name_resolves() -> None:
    code = "import diptych\nfor name in diptych.__all__:\n    print(name, getattr(diptych, name) is not None)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    import diptych

    assert done.stdout.splitlines() == [f"{name} True" for name in diptych.__all__]
