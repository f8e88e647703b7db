"""Parameters and multiply-adds of the parts of a network."""

import math
from dataclasses import dataclass

import keras
from keras import layers

from diptych.machine.host_process import python_seed
from diptych.model import convnet, resnet
from diptych.model.network import build_network
from diptych.settings.config import ModelConfig


@dataclass(frozen=True)
class PartSummary:
    """What one part of the network is and costs.

    Attributes:
        branch: "resnet50", "convnet" or "head".
        part: a stage of the branch, "attention", or a layer of the head.
        shape: (H, W, C) or (C,) of its output.
        parameters: number of weights, moving statistics included.
        multiply_adds: of its convolutions and dense layers, for one image.
    """

    branch: str
    part: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def summarise(settings: ModelConfig, image_size: int, classes: int = 2) -> list[PartSummary]:
    """Count parameters and multiply-adds of each part of the dual model, from the input on.

    Args:
        settings: width, attention, head.
        image_size: height and width of the input, in pixels.
        classes: number of classes, at least 2.
    """
    with python_seed():
        network = build_network(settings, image_size, classes)
    groups: dict[tuple[str, str], list[keras.layers.Layer]] = {}
    for branch in (resnet.NAME, convnet.NAME) if settings.branches == "both" else (settings.branches,):
        for layer in network.get_layer(branch).layers:
            stage = "conv1" if layer.name.startswith("pool1") else layer.name.split("_")[0]
            if not isinstance(layer, layers.InputLayer):
                groups.setdefault((branch, stage), []).append(layer)
        refinement = [layer for layer in network.layers if layer.name.startswith(f"{branch}_")]
        if refinement:
            groups[branch, "attention"] = refinement
    for name in ("join", "pool", "dense", "probability"):
        if name != "join" or settings.branches == "both":
            groups["head", name] = [network.get_layer(name)]
    return [
        PartSummary(
            branch,
            part,
            tuple(group[-1].output.shape[1:]),
            sum(layer.count_params() for layer in group),
            sum(multiply_adds(layer) for layer in group),
        )
        for (branch, part), group in groups.items()
    ]


def multiply_adds(layer: keras.layers.Layer) -> int:
    """Count the multiply-adds of one built layer for one image: kernel values times the places where they are applied."""
    if not isinstance(layer, layers.Conv2D | layers.Dense):
        return 0
    count: int = math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    return count


def describe_parts(parts: list[PartSummary]) -> str:
    """Lay the parts out as a table, with a sum per branch and in all."""
    line = "{:10} {:12} {:>16} {:>14} {:>16}".format
    rows = [line("branch", "part", "output", "parameters", "multiply-adds")]
    for branch in dict.fromkeys(part.branch for part in parts):
        own = [part for part in parts if part.branch == branch]
        for part in own:
            shape = " x ".join(map(str, part.shape))
            rows.append(line(branch, part.part, shape, f"{part.parameters:,}", f"{part.multiply_adds:,}"))
        rows.append(line(branch, "total", "", *totals(own)))
    rows.append(line("all", "total", "", *totals(parts)))
    return "\n".join(rows)


def totals(parts: list[PartSummary]) -> tuple[str, str]:
    return f"{sum(part.parameters for part in parts):,}", f"{sum(part.multiply_adds for part in parts):,}"
