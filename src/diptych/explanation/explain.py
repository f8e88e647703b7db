"""`diptych explain`: where the network looks in some images, as pictures and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diptych.data.pixels.greys import warn_of_doubts
from diptych.data.pixels.prepare import prepare
from diptych.data.reading.class_folders import find_images
from diptych.data.reading.manifest import printable
from diptych.explanation.activations import Activations, Floats
from diptych.explanation.faithfulness import Faithfulness, deletion_insertion
from diptych.explanation.overlays import BRANCHES, draw_explanation
from diptych.explanation.saliency import MEANINGS, Explanation, class_predictor, explain_images
from diptych.inference.prediction_table import probability_column
from diptych.inference.trained_run import TrainedRun
from diptych.metrics.classification import shorten
from diptych.storage.atomic import FORMAT_VERSION, PathLike, as_optional_path, as_paths, refuse_unwritable, write_json
from diptych.storage.run_dir import RunDir


@dataclass(frozen=True)
class Explained:
    """One image of `explain`.

    Attributes:
        path: the image file.
        problem: why it cannot be read; "" where all is well, and only then there is what follows.
        picture: the PNG file.
        explanation: what is drawn there.
        scores: of its maps, in their order.
    """

    path: Path
    problem: str = ""
    picture: Path | None = None
    explanation: Explanation | None = None
    scores: tuple[Faithfulness, ...] = ()


def explain(
    run: TrainedRun | RunDir | PathLike,
    paths: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    target: int | None = None,
    *,
    follow_links: bool = False,
) -> tuple[list[Explained], tuple[str, ...], Path]:
    """Explain the predictions of a run's best checkpoint: a PNG file for each image, and all figures in explanations.json.

    Args:
        run: a trained run, open or not: its folder, or its name in runs/.
        paths: image files, folders that are searched for images with all that is below them, and patterns (*.jpg).
        output: the folder to write to; None for that of the run.
        target: number of the class to explain; None for the one that is predicted for each image.
        follow_links: whether links may lead out of the folders.

    Returns:
        The images, the names of the classes, and the path of explanations.json.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
        CheckpointError: the run has no checkpoint, or predicts NaN.
        ConfigError: the folder cannot be written.
        TypeError: the run or a path is none.
    """
    run, files = TrainedRun.open(run), find_images(as_paths(paths), follow_links=follow_links)
    folder = as_optional_path(output) or run.run_dir.explanations
    refuse_unwritable(folder, "Name another output folder.")
    decision, _ = run.answer_with(run.spec.size, views=1)
    network, class_names, config = run.network, run.class_names, run.config
    store, outcome = prepare(files, run.spec, None)
    warn_of_doubts(outcome, f"The run was trained with grey_range = {config.data.grey_range}.")
    activations = Activations(network)
    found, taken = [], set[str]()
    for row, file in enumerate(tqdm(files, "explaining", unit=" images", leave=False, disable=None)):
        if outcome["problem"][row]:
            found.append(Explained(file, outcome["problem"][row]))
            continue
        images = store[np.array([row])]
        (explanation,) = explain_images(activations, images, None if target is None else np.array([target]), decision=decision)
        predict = class_predictor(network, explanation.target)
        maps = [each.values for each in explanation.maps]
        scores = deletion_insertion(predict, images[0], maps, seed=config.training.seed)
        picture = folder / name_picture(file, taken)
        draw_explanation(picture, images[0], explanation, scores, describe(file, explanation, class_names))
        found.append(Explained(file, "", picture, explanation, tuple(scores)))
    place = folder / "explanations.json"
    content = {
        "format_version": FORMAT_VERSION,
        "run": str(run.run_dir.root),
        "image_size": run.spec.size,
        "class_names": list(class_names),
    }
    write_json(place, content | {"meanings": MEANINGS, "images": [figures_of(each, class_names) for each in found]})
    return found, class_names, place


def name_picture(file: Path, taken: set[str]) -> str:
    """Name the PNG file of an image after it; files of one name in several folders are numbered."""
    stem = printable(file.stem)
    number, name = 1, f"{stem}.png"
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}.png"
    taken.add(name.casefold())
    return name


def describe(file: Path, explanation: Explanation, class_names: Sequence[str]) -> str:
    """Describe in two lines the answer, the explained class, and its probability without each branch."""
    target = explanation.target
    lines = [
        f"{shorten(printable(file.name))}: class {shorten(class_names[explanation.predicted])}",
        f"probability {explanation.probability:.4f}",
    ]
    if target != explanation.predicted:
        lines[-1] += f"; explained: class {shorten(class_names[target])}, probability {explanation.probabilities[target]:.4f}"
    without = [f"without {BRANCHES[branch]} {left[target]:.4f}" for branch, left in explanation.without.items()]
    return "\n".join([*lines[:-1], ", ".join([lines[-1], *without])])


def figures_of(explained: Explained, class_names: Sequence[str]) -> dict[str, Any]:
    """Put an image of `explain` into JSON values."""
    explanation = explained.explanation
    if explanation is None:
        return {"path": printable(str(explained.path)), "problem": explained.problem}

    def by_class(probabilities: Floats) -> dict[str, float]:
        return dict(zip(map(probability_column, class_names), rounded(probabilities), strict=True))

    return {
        "path": printable(str(explained.path)),
        "problem": "",
        "picture": explained.picture.name if explained.picture else None,
        "explained_class": class_names[explanation.target],
        "predicted_class": class_names[explanation.predicted],
        "probability": round(explanation.probability, 6),
        **by_class(explanation.probabilities),
        "without": {branch: by_class(probabilities) for branch, probabilities in explanation.without.items()},
        "maps": [
            {
                "name": saliency.name,
                "kind": saliency.kind,
                "branch": saliency.branch,
                "values": rounded(saliency.values),
                "deletion": {"area": score.deletion_area, "chance": score.chance_deletion, "curve": rounded(score.deletion)},
                "insertion": {"area": score.insertion_area, "chance": score.chance_insertion, "curve": rounded(score.insertion)},
            }
            for saliency, score in zip(explanation.maps, explained.scores, strict=True)
        ],
    }


def rounded(values: Floats) -> list[Any]:
    """Round to six digits, far below what differs from one backend to another."""
    found: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return found
