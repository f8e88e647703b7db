"""The three lines in a notebook: what its cells show, and that no stray file is left."""

from pathlib import Path

import pytest
import running
from making import REPOSITORY, needs

nbformat = pytest.importorskip("nbformat", reason="need nbclient and ipykernel, which make check installs")
nbclient = pytest.importorskip("nbclient", reason="need nbclient and ipykernel, which make check installs")


@pytest.mark.slow
@pytest.mark.skipif(running.QUICKEST != "torch", reason=needs("torch"))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook__shows_what_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    running.make_colours(tmp_path / "cats-dogs")
    notebook = nbformat.read(REPOSITORY / "tests" / "notebook.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    trained, tested, predicted, drawn, checked = (cell.outputs for cell in notebook.cells)
    said = "".join(output.text for output in trained if output.output_type == "stream" and output.name == "stdout")
    assert "epoch 1/1   training: loss" in said
    assert "images/s" in said
    assert not [output for cell in notebook.cells for output in cell.outputs if output.get("name") == "stderr"]
    shown = [cell[-1].data for cell in (trained, tested, predicted, drawn, checked)]
    assert "1 of 1" in shown[0]["text/html"]
    assert "test accuracy" in shown[1]["text/html"]
    assert "predicted_class" in shown[2]["text/html"]
    assert shown[3]["image/png"]
    assert "1 image cannot be read" in shown[4]["text/html"]
    assert {path.name for path in tmp_path.iterdir()} == {"cats-dogs", "cache", "runs"}
