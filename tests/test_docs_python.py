"""The code of docs/python.md runs, on a small training of its own."""

import re
from pathlib import Path

import pytest
import running
from making import REPOSITORY, encode, make_image, needs, run_python

SMALL = 'weights="none", width=0.125, branches="convnet", image_size=32, batch_size=8, epochs=1, cache="cache"'


@pytest.mark.slow
@pytest.mark.skipif(running.QUICKEST != "torch", reason=needs("torch"))
def test_python_page__runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    _, *blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    code = "\n".join(blocks)
    for whole, small in (
        ('preset="quick", epochs=5)\nreport', f"{SMALL})\nreport"),
        ('threshold="youden"', 'threshold="youden", maps=0'),
    ):
        assert whole in code
        code = code.replace(whole, small)
    running.make_colours(tmp_path / "cats-dogs")
    (tmp_path / "photo.jpg").write_bytes(encode(make_image(1), "JPEG"))
    done = run_python("-c", code, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Trained. Best epoch 1" in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"cats-dogs", "photo.jpg", "cache", "runs", "answers.csv"}
