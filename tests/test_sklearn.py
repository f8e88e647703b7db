"""Diptych as an estimator of scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import running
from making import needs, run_python
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.utils import estimator_checks

from diptych.sklearn import DualClassifier

IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
SESSION = """
import copy, gc, json, pickle, sys
from pathlib import Path
import numpy as np
from making import encode, make_image
from sklearn.model_selection import GridSearchCV, cross_validate
from diptych.sklearn import DualClassifier

images = np.stack([make_image(number % 2, number) for number in range(24)])
labels = np.array(["bright", "a dark one"])[1 - np.arange(24) % 2]
settings = dict(weights="none", branches="convnet", width=0.125, image_size=32, batch_size=8, validation_share=0.3)
found = {}
search = GridSearchCV(DualClassifier(**settings), {"epochs": [1]}, cv=2, error_score="raise").fit(images, labels)
fitted = search.best_estimator_
found["best"] = search.best_params_
found["classes"] = fitted.classes_.tolist()
probabilities = fitted.predict_proba(images[:5])
found["sums"] = probabilities.sum(axis=1).tolist()
found["same"] = (fitted.predict(images[:5]) == fitted.classes_[probabilities.argmax(axis=1)]).all().item()
found["score"] = fitted.score(images, labels)
kept = fitted.run_.folder
found["kept"] = kept.is_dir()
Path("fitted.pickle").write_bytes(pickle.dumps(fitted))
found["probabilities"] = fitted.predict_proba(images[:5]).tolist()
twin = copy.deepcopy(fitted)
del search, fitted
gc.collect()
found["gone"] = not kept.exists()
found["twin"] = twin.predict_proba(images[:5]).tolist()
found["twin is elsewhere"] = twin.run_.folder != kept
files = []
for number, image in enumerate(images):
    files.append(Path(f"{number}.png"))
    files[-1].write_bytes(encode(image))
mine = DualClassifier(**settings, epochs=1, runs="mine")
validated = cross_validate(mine, files, np.arange(24) % 2 * 7, cv=2, error_score="raise", return_estimator=True)
found["scores"] = validated["test_score"].tolist()
found["estimators"] = [set(each.predict(files)) <= {0, 7} for each in validated["estimator"]]
found["mine"] = len(list(Path("mine").glob("fit-*/run/config.toml")))
print(json.dumps(found))
"""
SECOND = """
import json, pickle
from pathlib import Path
import numpy as np
from making import make_image

fitted = pickle.loads(Path("fitted.pickle").read_bytes())
images = np.stack([make_image(number % 2, number) for number in range(5)])
folder = fitted.run_.folder
found = {"probabilities": fitted.predict_proba(images).tolist(), "classes": fitted.classes_.tolist()}
found["epochs"] = len(fitted.run_.history)
found["html"] = fitted.run_._repr_html_()[:4]
again = pickle.loads(pickle.dumps(fitted)).predict_proba(images).tolist()
found["again"] = again == found["probabilities"]
del fitted
found["gone"] = not folder.exists()
print(json.dumps(found))
"""


def test_check_estimator__passes() -> None:
    """Most of its checks fit tables of numbers, and scikit-learn leaves them out where the tags say that X is none."""
    with pytest.warns(SkipTestWarning, match="Can't test estimator DualClassifier"):
        estimator_checks.check_estimator(DualClassifier())


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_repr",
        "check_valid_tag_types",
        "check_parameters_default_constructible",
    ],
)
def test_checks__of_what_has_to_do_with_no_table(check: str) -> None:
    getattr(estimator_checks, check)("DualClassifier", DualClassifier())


def test_clone__has_the_settings_and_no_training() -> None:
    made = clone(DualClassifier(epochs=3, width=0.5, runs="here"))
    assert (made.epochs, made.width, made.runs) == (3, 0.5, "here")
    with pytest.raises(NotFittedError):
        made.predict(IMAGES)


def test_fit__of_what_does_not_go_together(tmp_path: Path) -> None:
    classifier = DualClassifier(runs=tmp_path / "runs")
    with pytest.raises(ValueError, match="X has 4 images, y the shape"):
        classifier.fit(IMAGES, [0, 1])
    with pytest.raises(ValueError, match="y has one class"):
        classifier.fit(IMAGES, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier.fit(IMAGES, [0.5, 0.1, 0.2, 0.3])
    with pytest.raises(TypeError, match="uint8"):
        classifier.fit(IMAGES.astype(np.float32), [0, 1, 0, 1])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(running.QUICKEST != "torch", reason=needs("torch"))
def test_session__of_a_search_and_a_cross_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    begin = f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
    done = run_python("-W", "always::ResourceWarning", "-c", begin + SESSION, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning" not in done.stderr
    found = json.loads(done.stdout)  # And nothing else is printed.
    assert found["best"] == {"epochs": 1}
    assert found["classes"] == ["a dark one", "bright"]
    assert np.allclose(found["sums"], 1, atol=1e-6)
    assert found["same"] is True
    assert 0 <= found["score"] <= 1
    assert found["kept"] is True
    assert found["gone"] is True
    assert len(found["scores"]) == found["mine"] == 2
    assert found["estimators"] == [True, True]
    assert found["twin"] == found["probabilities"]
    assert found["twin is elsewhere"] is True

    done = run_python("-W", "always::ResourceWarning", "-c", begin + SECOND, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning" not in done.stderr
    second = json.loads(done.stdout)
    assert np.allclose(second["probabilities"], found["probabilities"], atol=1e-6)
    assert second["classes"] == found["classes"]
    assert (second["epochs"], second["html"], second["again"], second["gone"]) == (1, "<div", True, True)
