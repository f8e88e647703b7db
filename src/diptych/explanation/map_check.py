"""The result of the check of saliency maps, as the report and metrics.json have it."""

from dataclasses import dataclass

from diptych.metrics.intervals import Interval


@dataclass(frozen=True)
class Randomisation:
    """Similarity of maps before and after the weights are randomised.

    Attributes:
        correlation: mean over the images of the absolute rank correlation of the two maps; 0 to 1, or None where the maps are
            flat.
        chance: the same, of maps whose places are shuffled: not 0 where there are few places.
        limit: half way from chance to 1: below it, less than half of what could be left is left.
        images: in how many both maps have something to compare.
        verdict: in words.
    """

    correlation: float | None
    chance: float | None
    limit: float | None
    images: int
    verdict: str


@dataclass(frozen=True)
class AreaGain:
    """The area under the curves of deletion, or of insertion, against chance.

    Attributes:
        area: mean over the images.
        chance: the same in random order.
        gain: how much better than chance; above 0 is better.
        interval: 95 % interval of the gain; None of one image.
    """

    area: float
    chance: float
    gain: float
    interval: Interval | None


@dataclass(frozen=True)
class CheckedMap:
    """A kind of map of one branch, and whether it passed.

    Attributes:
        name: kind and branch.
        kind: "grad_cam", "attention" or "occlusion".
        branch: "resnet50", "convnet" or "".
        grid: places of the map, h and w.
        randomisation: whether it changes with the weights.
        deletion: whether the probability falls as the places are taken away.
        insertion: whether it rises as they are put back.
        trusted: whether it changes, and one of the two is better than chance and the other not worse.
        verdict: in words.
    """

    name: str
    kind: str
    branch: str
    grid: tuple[int, ...]
    randomisation: Randomisation
    deletion: AreaGain
    insertion: AreaGain
    trusted: bool
    verdict: str


@dataclass(frozen=True)
class BranchCut:
    """What changes without a branch: mean `change` of the probability of the answer, and share of `other_decisions`."""

    change: float
    other_decisions: float


@dataclass(frozen=True)
class MapsCheck:
    """The check of all kinds of maps of a network.

    Attributes:
        images: how many they were checked on.
        steps: of deletion and insertion.
        chance_orders: random orders that they are compared with.
        randomised_networks: networks with shuffled weights.
        maps: one for each kind and branch.
        cut_off: for each branch.
    """

    images: int
    steps: int
    chance_orders: int
    randomised_networks: int
    maps: tuple[CheckedMap, ...]
    cut_off: dict[str, BranchCut]
