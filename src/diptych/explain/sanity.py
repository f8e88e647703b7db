"""Sanity checks of saliency maps: weight randomisation, deletion and insertion."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
from tqdm import tqdm

from diptych.explain.activations import Taps, pooled_means
from diptych.explain.faithfulness import (
    CHANCE_ORDERS,
    STEPS,
    Faithfulness,
    Randomisation,
    deletion_insertion,
    randomisation_check,
)
from diptych.explain.saliency import Explanation, class_predictor, explain_images
from diptych.inference.decision import DEFAULT, Decision
from diptych.rng import generator
from diptych.settings.config import Config
from diptych.training.steps.averaging import Averaging, read

IMAGES = 16
# One randomised network may by chance look where the trained one does.
RANDOMISED_NETWORKS = 2
LEVEL = 0.95


@contextmanager
def randomised_weights(network: keras.Model, images: NDArray[np.uint8], seed: int, number: int = 0) -> Iterator[None]:
    """Temporarily shuffle the weights of a network; afterwards every variable is what it was, bit for bit.

    The values of each weight are shuffled among themselves. Fresh weights would be no fair check: the default attention
    begins as a constant, and each block of ResNet50 as its shortcut, so that any map would change for a reason of its own.
    Shuffled weights keep their spread and lose their order. The statistics of batch normalisation belong to the old weights;
    they are measured anew, or else most features would be dead or huge.

    Args:
        network: the dual model.
        images: uint8 (N, S, S, 3), at least two, to measure the statistics on.
        seed: of the shuffle.
        number: of the randomised network, for several with one seed.
    """
    kept = [read(variable) for variable in network.variables]
    try:
        for place, variable in enumerate(network.trainable_variables):
            random = generator(seed, "shuffled weights", number, place)
            variable.assign(random.permutation(read(variable).ravel()).reshape(variable.shape))
        averaging = Averaging(network)
        if averaging.layers:
            averaging.measure(iter([images]))
        yield
    finally:
        for variable, value in zip(network.variables, kept, strict=True):
            variable.assign(value)


def sanity_of_maps(
    network: keras.Model,
    config: Config,
    images: NDArray[np.uint8],
    limit: int = IMAGES,
    *,
    decision: Decision = DEFAULT,
    progress: bool = True,
) -> dict[str, Any]:
    """Check the maps of a network: do they change with its weights, and are they better than chance?

    It takes some 900 passes of the network for each image.

    Args:
        network: the dual model.
        config: of its run; the seed is taken from it.
        images: uint8 (N, S, S, 3), at least two, of the test.
        limit: how many of them are looked at, evenly from first to last.
        decision: says which class is predicted, and is explained.
        progress: draw a progress bar where standard error is a terminal.

    Returns:
        JSON values: `images`, how many; `maps`, a row for each kind of map and branch with `name`, `kind`, `branch`, `grid`
        (h, w), `randomisation` (the fields of `Randomisation`), `deletion` and `insertion` (each with the mean `area`, the
        mean `chance`, the mean `gain` over chance, positive where the map is better, and its 95 % `interval`), `trusted` (see
        `is_trusted`) and `verdict`;
        `cut_off`, for each branch the mean `change` of the probability of the predicted class without it (its features
        replaced by their means over these images), and the share of `other_decisions`.
    """
    chosen = images[np.unique(np.linspace(0, len(images) - 1, limit).round().astype(int))]
    taps, seed = Taps(network), config.training.seed
    steps, hidden = RANDOMISED_NETWORKS + 1 + len(chosen), None if progress else True
    with tqdm(total=steps, desc="checking the maps", leave=False, disable=hidden) as bar:
        found = explain_images(taps, chosen, means=pooled_means(taps, chosen), decision=decision)
        bar.update()
        targets = np.array([explanation.target for explanation in found])
        randomised: list[Explanation] = []
        for number in range(RANDOMISED_NETWORKS):
            with randomised_weights(network, chosen, seed, number):
                randomised += explain_images(taps, chosen, targets)
            bar.update()
        scores = []
        for image, explanation in zip(chosen, found, strict=True):
            predict = class_predictor(network, explanation.target)
            scores.append(deletion_insertion(predict, image, [each.values for each in explanation.maps], seed=seed))
            bar.update()
    rows = []
    for place, first in enumerate(found[0].maps):
        before = [explanation.maps[place].values for explanation in found] * RANDOMISED_NETWORKS
        check = randomisation_check(before, [explanation.maps[place].values for explanation in randomised], seed)
        curves = describe_curves([score[place] for score in scores])
        row = {"name": first.name, "kind": first.kind, "branch": first.branch, "grid": list(first.values.shape)}
        judged = {"trusted": is_trusted(check, curves), "verdict": f"{check.verdict}; {compare(curves)}"}
        rows.append(row | {"randomisation": vars(check), **curves, **judged})
    settings = {"steps": STEPS, "chance_orders": CHANCE_ORDERS, "randomised_networks": RANDOMISED_NETWORKS}
    return {"images": len(chosen), **settings, "maps": rows, "cut_off": describe_cuts(found)}


def describe_curves(scores: Sequence[Faithfulness]) -> dict[str, dict[str, Any]]:
    """Put the areas of some images into means, and the gain over chance into an interval (Student's t)."""
    deletions = np.array([(score.deletion_area, score.chance_deletion) for score in scores])
    insertions = np.array([(score.insertion_area, score.chance_insertion) for score in scores])
    found = {}
    for name, areas, sign in (("deletion", deletions, -1), ("insertion", insertions, 1)):
        gains = sign * (areas[:, 0] - areas[:, 1])
        half = t.ppf((1 + LEVEL) / 2, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else None
        mean = float(gains.mean())
        found[name] = {
            "area": float(areas[:, 0].mean()),
            "chance": float(areas[:, 1].mean()),
            "gain": mean,
            "interval": None if half is None else [mean - float(half), mean + float(half)],
        }
    return found


def is_trusted(check: Randomisation, curves: dict[str, dict[str, Any]]) -> bool:
    """Say whether a kind of map passed: it changes with the weights, and as far as these images tell, one of deletion and
    insertion is better than chance and the other one is not worse."""
    changes = check.correlation is not None and (check.limit is None or check.correlation < check.limit)
    spans = [figures["interval"] or (-np.inf, np.inf) for figures in curves.values()]
    return bool(changes and any(low > 0 for low, _ in spans) and not any(high < 0 for _, high in spans))


def compare(curves: dict[str, dict[str, Any]]) -> str:
    """Tell which of the two scores are better than chance, as far as these images tell."""
    words = []
    for name, figures in curves.items():
        low, high = figures["interval"] or (-np.inf, np.inf)
        words.append(f"{name} {'better than' if low > 0 else 'worse than' if high < 0 else 'no different from'} chance")
    return ", ".join(words)


def describe_cuts(found: Sequence[Explanation]) -> dict[str, dict[str, float]]:
    """Describe how much the decision changes without each branch."""
    cuts = {}
    for branch in found[0].without:
        changes = [each.without[branch][each.target] - each.probabilities[each.target] for each in found]
        others = [each.others[branch] for each in found]
        cuts[branch] = {"change": float(np.mean(changes)), "other_decisions": float(np.mean(others))}
    return cuts
