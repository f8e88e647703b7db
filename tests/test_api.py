"""Diptych in Python: what the three lines of a notebook do, say and leave alone; one session answers most questions."""

import json
import logging
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
        assert session["compared"] == 2 * running.PARTS["test"]

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

    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "HSV"])
    def test_pil_image__is_decoded_as_its_file_is(self, mode: str) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import to_png

        plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
        image = plain.convert(mode)
        wanted = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        found = decode_image(to_png(image), ImageSpec(16))
        assert np.abs(found.astype(int) - wanted).max() <= (1 if mode not in ("P", "1") else 80)

    def test_pil_image__is_turned_as_its_exif_says(self) -> None:
        from diptych.data.pixels.decode import ImageSpec, decode_image
        from diptych.inference.given_images import to_png

        image = Image.fromarray(np.repeat(np.uint8([[[0] * 3], [[255] * 3]]), 8, axis=1).repeat(8, axis=0))
        image.getexif()[0x0112] = 3
        upper, lower = decode_image(to_png(image), ImageSpec(2)).mean(axis=(1, 2))
        assert upper > 200
        assert lower < 55

    def test_train__names_a_wrong_setting(self, tmp_path: Path) -> None:
        with pytest.raises(diptych.ConfigError, match="epoch is no setting; did you mean epochs"):
            diptych.train(tmp_path, epoch=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"train\(config=\.\.\.\)"):
            diptych.train(diptych.Config())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected a path"):
            diptych.train(3)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []

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
