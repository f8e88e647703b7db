"""Sanity checks of saliency maps: weight randomisation, deletion and insertion."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
from tqdm import tqdm

from diptych.explanation.activations import Activations, pooled_means
from diptych.explanation.faithfulness import (
    CHANCE_ORDERS,
    STEPS,
    Faithfulness,
    deletion_insertion,
    randomisation_check,
)
from diptych.explanation.map_check import AreaGain, BranchCut, CheckedMap, MapsCheck, Randomisation
from diptych.explanation.saliency import Explanation, class_predictor, explain_images
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
            averaging.reestimate_batch_norm(iter([images]))
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
) -> MapsCheck:
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
        Of each kind of map and branch, whether it passed; `cut_off` replaces a branch's features by their means over the images.
    """
    chosen = images[np.unique(np.linspace(0, len(images) - 1, limit).round().astype(int))]
    activations, seed = Activations(network), config.training.seed
    steps, hidden = RANDOMISED_NETWORKS + 1 + len(chosen), None if progress else True
    with tqdm(total=steps, desc="checking the maps", leave=False, disable=hidden) as bar:
        found = explain_images(activations, chosen, means=pooled_means(activations, chosen), decision=decision)
        bar.update()
        targets = np.array([explanation.target for explanation in found])
        randomised: list[Explanation] = []
        for number in range(RANDOMISED_NETWORKS):
            with randomised_weights(network, chosen, seed, number):
                randomised += explain_images(activations, chosen, targets)
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
        deletion, insertion = compare_areas([score[place] for score in scores])
        trusted = is_trusted(check, (deletion, insertion))
        verdict = f"{check.verdict}; {compare('deletion', deletion)}, {compare('insertion', insertion)}"
        grid = first.values.shape
        rows.append(CheckedMap(first.name, first.kind, first.branch, grid, check, deletion, insertion, trusted, verdict))
    return MapsCheck(len(chosen), STEPS, CHANCE_ORDERS, RANDOMISED_NETWORKS, tuple(rows), describe_cuts(found))


def compare_areas(scores: Sequence[Faithfulness]) -> tuple[AreaGain, AreaGain]:
    """Compare the mean areas of deletion and of insertion with chance, over some images (Student's t)."""
    deletions = np.array([(score.deletion_area, score.chance_deletion) for score in scores])
    insertions = np.array([(score.insertion_area, score.chance_insertion) for score in scores])
    return gain_of(deletions, -1), gain_of(insertions, 1)


def gain_of(areas: NDArray[np.float64], sign: int) -> AreaGain:
    """Return the gain of areas (N, 2), those of the maps and those by chance; with sign -1, a smaller area is better."""
    gains = sign * (areas[:, 0] - areas[:, 1])
    mean, interval = float(gains.mean()), None
    if len(gains) > 1:
        half = float(t.ppf((1 + LEVEL) / 2, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
        interval = [mean - half, mean + half]
    return AreaGain(float(areas[:, 0].mean()), float(areas[:, 1].mean()), mean, interval)


def is_trusted(check: Randomisation, gains: Sequence[AreaGain]) -> bool:
    """Tell whether a kind of map passed: it changes with the weights, and as far as these images tell, one of deletion and
    insertion is better than chance and the other one is not worse."""
    changes = check.correlation is not None and (check.limit is None or check.correlation < check.limit)
    spans = [gain.interval or (-np.inf, np.inf) for gain in gains]
    return bool(changes and any(low > 0 for low, _ in spans) and not any(high < 0 for _, high in spans))


def compare(name: str, gain: AreaGain) -> str:
    """Tell whether a score is better than chance, as far as these images tell."""
    low, high = gain.interval or (-np.inf, np.inf)
    return f"{name} {'better than' if low > 0 else 'worse than' if high < 0 else 'no different from'} chance"


def describe_cuts(found: Sequence[Explanation]) -> dict[str, BranchCut]:
    """Describe how much the decision changes without each branch."""
    cuts = {}
    for branch in found[0].without:
        changes = [each.without[branch][each.target] - each.probabilities[each.target] for each in found]
        others = [each.others[branch] for each in found]
        cuts[branch] = BranchCut(float(np.mean(changes)), float(np.mean(others)))
    return cuts
