"""Diptych in Python: what the three lines of a notebook do, say and leave alone; one session answers most questions."""

import inspect
import io
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import running
from making import REPOSITORY, make_data, needs, run_python
from PIL import Image

import diptych
from diptych.screen import messages

SETTINGS = {
    "weights": "none",
    "width": 0.125,
    "branches": "convnet",
    "dense_units": 16,
    "image_size": 32,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "batch_norm_momentum": 0.9,
    "epochs": 2,
    "cache": "cache",
}


FIRST_CALLS = """
import json, os, random, sys
import numpy as np

random.seed(5), np.random.seed(5)
changed = {"random": [], "numpy": []}
states = random.getstate(), str(np.random.get_state())

def look(call):
    if random.getstate() != states[0]:
        changed["random"].append(call)
    if str(np.random.get_state()) != states[1]:
        changed["numpy"].append(call)

import diptych
diptych.DiptychError, diptych.Report
look("names")
diptych.check("data", cache="cache", verbose=False)
look("check")
run = diptych.open_run("mine", backend="torch")
look("open_run")
run.history, run.plot()
look("plot")
os.chdir("data")
answers = run.predict("0/00.png")
look("predict")
loaded = [name for name in ("keras", "pandas", "sklearn") if name in sys.modules]
print(json.dumps({**changed, "loaded": loaded, "answers": len(answers)}))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session of Python has found, and the files of its folder."""
    if running.QUICKEST != "torch":
        pytest.skip(needs("torch"))

    def play(folder: Path) -> object:
        running.make_colours(folder / "images")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_BACKEND", "torch")
            script = REPOSITORY / "tests" / "api_session.py"
            done = run_python(script, "images", json.dumps(SETTINGS), cwd=folder, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        return {**found, "stderr": done.stderr}

    folder, found = running.once(tmp_path_factory.getbasetemp(), "api", play)
    return {**found, "here": folder}


def picture_of_mode(mode: str) -> Image.Image:
    """A picture with dark and bright parts in a mode of Pillow; with transparent ones where it has these."""
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    values[:20] //= 8
    plain = Image.fromarray(values)
    if mode in ("I", "I;16", "I;16B"):
        deep = Image.fromarray(np.asarray(plain.convert("L")).astype(np.int32) * 257)
        return deep if mode == "I" else deep.convert(mode)
    if mode in ("LA", "RGBA"):
        plain.putalpha(Image.linear_gradient("L").resize(plain.size))
    if mode == "PA":
        plain = plain.convert("P")
    return plain.convert(mode)


@pytest.mark.slow
class TestSession:
    def test_process__is_left_as_it_was(self, session: dict[str, Any]) -> None:
        assert session["changed"] == []
        assert session["tensorflow"] is False

    def test_train__says_what_the_command_says(self, session: dict[str, Any]) -> None:
        assert "epoch 1/2   training: loss" in session["said"]
        assert "Trained. Best epoch" in session["said"]
        assert session["stderr"] == ""

    def test_train__stopped_goes_on_when_it_is_called_again(self, session: dict[str, Any]) -> None:
        assert session["stopped"] is True
        assert session["rows when stopped"] == 1
        assert session["runs"] == [session["run"]]
        assert session["epochs"] == 2
        assert "epoch 2/2" in session["said"]

    def test_history__is_a_table(self, session: dict[str, Any]) -> None:
        assert {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"} <= set(session["columns"])

    def test_predict__is_the_same_for_files_arrays_and_pil(self, session: dict[str, Any]) -> None:
        assert max(session["near"].values()) < 1e-6
        assert session["names"]["arrays"] == session["names"]["stack"] == ["[0]", "[1]"]
        assert session["names"]["text"] == session["names"]["again"] == session["names"]["pil"]
        assert session["names"]["mixed"] == [session["names"]["text"][0], "[1]"]
        assert session["one"] == 1

    def test_predict__of_a_folder_names_what_cannot_be_read(self, session: dict[str, Any]) -> None:
        assert session["folder"] == [sum(running.PARTS.values()) + 1, 1]

    def test_predict_proba__is_what_predict_says(self, session: dict[str, Any]) -> None:
        probabilities = np.array(session["probabilities"])
        assert probabilities.shape == (2, 2)
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        assert np.allclose(probabilities, session["by path"], atol=1e-6)

    def test_answers__print_and_write_nothing(self, session: dict[str, Any]) -> None:
        assert session["quiet"] == ""
        assert session["left behind"] == []

    def test_output__is_written_where_it_is_asked_for(self, session: dict[str, Any]) -> None:
        assert (session["here"] / "table.csv").is_file()
        assert sorted(path.name for path in (session["here"] / "checked").iterdir()) == ["check.html", "check.json"]

    def test_evaluate__chooses_what_it_is_told_to(self, session: dict[str, Any]) -> None:
        assert 0 <= session["accuracy"] <= 1
        assert session["rule"] == "youden"
        assert session["by"] == ["kind"]
        images, table = session["compared"]
        assert images == 2 * running.PARTS["test"]
        assert f"2 runs on the same {images} test images" in table
        assert f"accuracy of copy against {session['run']}" in table

    def test_resume__whose_result_is_not_kept_brings_the_open_run_up_to_date(self, session: dict[str, Any]) -> None:
        assert session["resumed"] == [3, 3, False]
        assert session["again"] == "f1"

    def test_evaluate__of_a_run_that_was_trained_further_elsewhere_is_refused(self, session: dict[str, Any]) -> None:
        assert "was trained further since it was opened; open it again" in session["stale"]
        assert session["decision kept"] is True

    def test_first_call__leaves_random_state_and_outlives_a_change_of_folder(
        self, session: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a process of its own, for packages draw random numbers when they are imported."""
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        make_data(tmp_path / "data")
        (tmp_path / "runs").mkdir()
        shutil.copytree(session["here"] / "runs" / session["run"], tmp_path / "runs" / "mine")
        done = run_python("-c", FIRST_CALLS, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"numpy": [], "random": [], "loaded": ["keras", "pandas", "sklearn"], "answers": 1}

    def test_objects__show_themselves(self, session: dict[str, Any]) -> None:
        assert f"Run {session['run']}" in session["html"]
        assert "2 of 2" in session["html"]
        ok, page = session["check"]
        assert ok is False
        assert "1 image cannot be read" in page
        assert session["explained"][0].startswith("ExplainedImage([0]: ")
        assert session["explained"][1] == b"\x89PNG".hex()
        assert "accuracy" in session["report"]
        kind, titles, png = session["figure"]
        assert kind == "Figure"
        assert [title.split()[0] for title in titles] == ["Accuracy", "Loss"]
        assert png == b"\x89PNG".hex()


class TestWithoutNetwork:
    @pytest.mark.parametrize("wrong", [3, None, b"bytes", [3.5]])
    def test_images__that_are_none_are_a_type_error(self, wrong: object) -> None:
        from diptych.inference.given_images import as_list

        with pytest.raises(TypeError, match="expected"):
            as_list(wrong)  # type: ignore[arg-type]

    def test_array__of_floats_says_how_to_mend_it(self) -> None:
        from diptych.inference.given_images import as_list

        with pytest.raises(TypeError, match=r"uint8, 0 to 255; got float64.*255 \* array"):
            as_list(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
        with pytest.raises(diptych.DataError, match=r"shape \(4, 4, 7\) is no image"):
            as_list(np.zeros((4, 4, 7), np.uint8))

    def test_array__of_paths_is_paths(self) -> None:
        from diptych.inference.given_images import all_paths, as_list

        assert all_paths(as_list(np.array(["a.png", "b.png"]))) == [Path("a.png"), Path("b.png")]  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("mode", "form"),
        [
            *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
            *((mode, "TIFF") for mode in ("I", "I;16B", "PA", "CMYK", "YCbCr")),
        ],
    )
    def test_pil_image__is_decoded_as_its_file_is(self, mode: str, form: str) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import to_file

        image, spec = picture_of_mode(mode), ImageSpec(16)
        file = io.BytesIO()
        image.save(file, form)
        wanted = decode_image(file.getvalue(), spec)
        assert np.ptp(wanted) > 100
        assert np.array_equal(decode_image(to_file(image), spec), wanted)
        assert np.array_equal(decode_image(to_file(Image.open(file)), spec), wanted)

    def test_pil_image__of_a_mode_that_no_file_has_is_what_pillow_makes_of_it(self) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import to_file

        image = picture_of_mode("HSV")
        assert np.array_equal(
            decode_image(to_file(image), ImageSpec(16)), decode_image(to_file(image.convert("RGB")), ImageSpec(16))
        )

    def test_pil_image__of_no_known_range_is_refused_or_scaled_as_its_file_is(self) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import decode_given

        deep, too_deep = Image.new("F", (4, 4), 0.5), Image.new("I", (4, 4), 70_000)
        names, pixels, problems = decode_given([deep, too_deep, Image.new("RGB", (0, 4)), Image.new("LAB", (4, 4))], ImageSpec(8))
        assert names == ["[0]", "[1]", "[2]", "[3]"]
        assert not pixels.any()
        assert "floating-point pixels from 0.5 to 0.5 have no known range" in problems[0]
        assert "pixels from 70000 to 70000; 16-bit greys go from 0 to 65535" in problems[1]
        assert "0 x 4 pixels is empty" in problems[2]
        assert "CIELAB" in problems[3]
        file = io.BytesIO()
        deep.save(file, "TIFF")
        ranged = ImageSpec(8, grey_range=(0, 1))
        (found,) = decode_given([deep], ranged)[1]
        assert np.array_equal(found, decode_image(file.getvalue(), ranged))
        assert found.max() == 128

    def test_pil_image__whose_file_breaks_off_is_a_problem_of_that_image(self, tmp_path: Path) -> None:
        from diptych.data.pixels.decode import ImageSpec
        from diptych.inference.given_images import decode_given

        file = tmp_path / "half.png"
        picture_of_mode("RGB").save(file)
        file.write_bytes(file.read_bytes()[:-600])
        with Image.open(file) as image:
            _, _, (problem,) = decode_given([image], ImageSpec(8))
        assert problem.startswith("damaged or truncated: ")

    def test_paths__begin_at_home_where_they_begin_with_a_tilde(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from diptych.inference.given_images import all_paths, as_list
        from diptych.storage.atomic import as_path, as_paths

        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        wanted = tmp_path / "a.png"
        assert as_path("~/a.png") == wanted
        assert as_paths(["~/a.png", wanted]) == [wanted, wanted]
        assert all_paths(as_list("~/a.png")) == all_paths(as_list(["~/a.png"])) == [wanted]
        with pytest.raises(diptych.CheckpointError, match=re.escape(str(tmp_path / "no-run"))):
            diptych.open_run("~/no-run")

    def test_one_path__is_not_several(self, tmp_path: Path) -> None:
        wrong: Any = ["a", "b"]
        for call in (
            lambda: diptych.check(wrong),
            lambda: diptych.check(tmp_path, output=wrong),
            lambda: diptych.train(wrong),
            lambda: diptych.train(tmp_path, config=wrong),
            lambda: diptych.train(tmp_path, runs=wrong),
        ):
            with pytest.raises(TypeError, match=r"expected one path .*; got \['a', 'b'\], a list"):
                call()

    def test_pil_image__is_turned_as_its_exif_says(self) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import to_file

        image = Image.fromarray(np.repeat(np.uint8([[[0] * 3], [[255] * 3]]), 8, axis=1).repeat(8, axis=0))
        image.getexif()[0x0112] = 3
        upper, lower = decode_image(to_file(image), ImageSpec(2)).mean(axis=(1, 2))
        assert upper > 200
        assert lower < 55

    def test_train__names_a_wrong_setting(self, tmp_path: Path) -> None:
        with pytest.raises(diptych.ConfigError, match="epoch is no setting; did you mean epochs"):
            diptych.train(tmp_path, epoch=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"train\(config=\.\.\.\)"):
            diptych.train(diptych.Config())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected one path"):
            diptych.train(3)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []

    def test_check__takes_no_settings_of_a_training(self, tmp_path: Path) -> None:
        with pytest.raises(diptych.ConfigError, match="epochs is a setting of the training; check takes image_size, "):
            diptych.check(tmp_path, epochs=5)  # type: ignore[call-arg]
        with pytest.raises(diptych.ConfigError, match="imagesize is no setting; did you mean image_size"):
            diptych.check(tmp_path, imagesize=5)  # type: ignore[call-arg]

    @pytest.mark.parametrize("maps", [-1, 1001])
    def test_evaluate__of_so_many_maps_is_refused(self, maps: int, tmp_path: Path) -> None:
        from diptych.evaluation.evaluate import evaluate

        with pytest.raises(diptych.ConfigError, match=f"maps is {maps}; expected 0 to 1000"):
            evaluate(tmp_path, maps=maps)

    def test_evaluate__is_the_same_as_function_and_as_method(self) -> None:
        method, function = (inspect.signature(call).parameters for call in (diptych.Run.evaluate, diptych.evaluate))
        assert list(function.values())[1:] == list(method.values())[1:]

    def test_open_run__that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(diptych.CheckpointError, match="is not a run"):
            diptych.open_run(tmp_path)
        with pytest.raises(TypeError, match="expected a run"):
            diptych.open_run(3)  # type: ignore[arg-type]

    def test_check__writes_nothing_unless_it_is_asked_to(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = make_data(tmp_path / "data")
        (data / "0" / "00.png").write_bytes(b"no image")
        before = sorted(tmp_path.rglob("*"))
        found = diptych.check(data, cache=tmp_path.parent / f"{tmp_path.name}-cache", verbose=False)
        assert capsys.readouterr().out == ""
        assert sorted(tmp_path.rglob("*")) == before
        assert [finding.kind for finding in found.findings].count("unreadable") == 1
        assert "unreadable" in found._repr_html_() or "cannot be read" in found._repr_html_()


class TestMessages:
    def test_messages__are_shown_and_logging_is_put_back(self, capsys: pytest.CaptureFixture[str]) -> None:
        log = logging.getLogger("diptych")
        before = log.level, list(log.handlers), log.propagate
        with messages():
            log.info("shown")
        log.info("not shown")
        assert capsys.readouterr().out == "shown\n"
        assert (log.level, list(log.handlers), log.propagate) == before

    def test_messages__that_the_program_shows_already_come_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        log = logging.getLogger("diptych")
        before = log.level
        log.setLevel(logging.INFO)
        own: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: own.append(record.getMessage())  # type: ignore[method-assign]
        log.addHandler(handler)
        try:
            with messages():
                log.info("once")
        finally:
            log.removeHandler(handler)
            log.setLevel(before)
        assert own == ["once"]
        assert capsys.readouterr().out == ""


def test_own_process__is_only_a_command() -> None:
    """Glibc's limits, which nobody could put back, are a command's to set."""
    code = "from diptych.machine.host_process import is_own_process as own; print(own())"
    code += "; import diptych.api, diptych.cli; print(own()); diptych.cli.main(['cache']); print(own())"
    done = run_python("-c", code)
    words = done.stdout.split()
    assert words[:2] == ["False", "False"], done.stderr
    assert words[-1] == "True"
