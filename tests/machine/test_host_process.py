"""What is changed of a process is put back, however many of our threads needed it."""

import logging
import os
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import cv2
import pytest
from making import encode, make_image, run_python

from diptych.data.augment import one_thread_each
from diptych.data.pixels.decode import ImageSpec, decode_image, quiet_pillow
from diptych.machine.host_process import changed_environment, changed_levels, python_seed


def test_borrowed__is_put_back_by_the_last_of_several_threads() -> None:
    before, barrier = cv2.getNumThreads(), Barrier(4)

    def overlap(number: int) -> int:
        with one_thread_each:
            barrier.wait(10)
            return cv2.getNumThreads()

    cv2.setNumThreads(3)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(overlap, range(4)))
        assert set(found) == {1}
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_borrowed__is_put_back_after_an_error() -> None:
    before = list(warnings.filters)
    with quiet_pillow:
        assert list(warnings.filters) != before
    with pytest.raises(ZeroDivisionError), quiet_pillow:
        _ = 1 / 0
    assert list(warnings.filters) == before


def test_decoding__in_many_threads_leaves_the_filters_of_warnings() -> None:
    content, before = encode(make_image(0)), list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode_image(content, ImageSpec(16)), range(200)))
    assert list(warnings.filters) == before


def test_environment__levels_and_seed_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_A", "before")
    monkeypatch.delenv("DIPTYCH_B", raising=False)
    other, state = logging.getLogger("of.another.package"), random.getstate()
    other.setLevel(logging.DEBUG)
    changes = changed_environment({"DIPTYCH_A": "now", "DIPTYCH_B": "now"})
    with changes, changed_levels({"of.another.package": logging.ERROR}), python_seed(7):
        assert (os.environ["DIPTYCH_A"], os.environ["DIPTYCH_B"], other.level) == ("now", "now", logging.ERROR)
        drawn = random.random()
    assert os.environ["DIPTYCH_A"] == "before"
    assert "DIPTYCH_B" not in os.environ
    assert other.level == logging.DEBUG
    assert random.getstate() == state
    with python_seed(7):
        assert random.random() == drawn


def test_import__of_what_computes_changes_nothing(tmp_path: Path) -> None:
    """Not even the files that do the work, before they are asked to."""
    code = """
import logging, random, sys, warnings
import cv2, matplotlib, numpy, optuna, pandas, PIL.Image, seaborn, sklearn.metrics
def state():
    return (random.getstate()[1][:3], list(warnings.filters), cv2.getNumThreads(), matplotlib.get_backend(auto_select=False),
            optuna.logging.get_verbosity(), logging.getLogger().handlers, numpy.geterr())
before = state()
import diptych.data.augment, diptych.data.dataset, diptych.data.pixels.heic, diptych.drawing
import diptych.evaluation.plots, diptych.tuning.optuna_study
print(state() == before)
"""
    done = run_python("-c", code, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr
