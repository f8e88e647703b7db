"""Optimizers, schedules, what is frozen, and what is minimised."""

import math

import keras
import numpy as np
import pytest
from making import needs
from small import same, small_batch, small_network, values

from diptych.data.loader import encode_labels
from diptych.settings.config import Config, TrainingConfig
from diptych.training.steps.optimizers import (
    build_accuracy,
    build_loss,
    build_optimizer,
    compile_network,
    freeze_layers,
    last_learning_rate,
    learning_rate,
    lower_learning_rate,
    parts_of,
    smooth_labels,
)

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")


def built(
    settings: TrainingConfig, steps: int = 100, *, pretrained: bool = False, batch_norm: bool = True, traced: bool = False
) -> keras.Model:
    """A small network with the optimizer of the settings; not traced, for on JAX that takes longer than a hundred steps."""
    network = small_network(batch_norm)
    compile_network(network, build_optimizer(settings, network, steps, pretrained))
    network.run_eagerly = not traced
    return network


def to_step(optimizer: keras.Optimizer, step: int) -> None:
    for part in [optimizer, *parts_of(optimizer)]:
        part.variables[0].assign(step)


def rates(settings: TrainingConfig, steps: int, at: range, *, pretrained: bool = False) -> list[float]:
    optimizer = built(settings, steps, pretrained=pretrained).optimizer
    found = []
    for step in at:
        to_step(optimizer, step)
        found.append(learning_rate(optimizer))
    return found


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, marks=pytest.mark.one_backend),
        pytest.param({"depth_factor": 0.5}, marks=pytest.mark.one_backend),
        pytest.param({"accumulate": 2}, marks=pytest.mark.one_backend),
        {"accumulate": 2, "depth_factor": 0.5},
    ],
)
def test_one_cycle__warms_up_linearly_and_anneals_along_a_cosine_over_all_batches(keys):
    steps, warmup, highest = 40, 10, 2e-3
    settings = TrainingConfig(schedule="one-cycle", learning_rate=highest, warmup_share=0.25, **keys)
    found = rates(settings, steps, range(steps + 1), pretrained=True)
    up = [highest / 25 + (highest - highest / 25) * step / warmup for step in range(warmup)]
    down = [highest * 0.5 * (1 + math.cos(math.pi * step / (steps - warmup))) for step in range(steps - warmup + 1)]
    assert found == pytest.approx(up + down, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
def test_one_cycle__of_very_few_steps_stays_within_its_rates(steps):
    found = rates(TrainingConfig(schedule="one-cycle", learning_rate=1e-3), steps, range(steps + 1))
    assert all(0 <= rate <= 1e-3 * (1 + 1e-6) for rate in found)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules__do_not_change_the_rate_by_themselves(schedule):
    settings = TrainingConfig(schedule=schedule, learning_rate=3e-4)
    assert rates(settings, 100, range(0, 100, 33)) == pytest.approx([3e-4] * 4)


def test_pretrained_factor__lowers_the_rate_of_pretrained_weights_only():
    settings = TrainingConfig(schedule="constant", learning_rate=1e-3, pretrained_factor=0.1)
    assert rates(settings, 10, range(1)) == pytest.approx([1e-3])
    assert rates(settings, 10, range(1), pretrained=True) == pytest.approx([1e-4])


@pytest.mark.parametrize("keys", [pytest.param({}, marks=pytest.mark.one_backend), {"depth_factor": 0.5, "accumulate": 2}])
def test_last_learning_rate__is_that_of_the_last_batch(keys):
    """The schedule says 0 once it has come to its end, which no batch was trained with."""
    steps, settings = 8, TrainingConfig(schedule="one-cycle", learning_rate=1e-3, **keys)
    optimizer = built(settings, steps, pretrained=True).optimizer
    for step, expected in enumerate(rates(settings, steps, range(steps), pretrained=True)):
        to_step(optimizer, step + 1)
        assert last_learning_rate(optimizer) == pytest.approx(expected)
    assert last_learning_rate(optimizer) > learning_rate(optimizer) == 0


@pytest.mark.parametrize("pretrained", [False, True])
def test_lower_learning_rate__keeps_the_proportions_and_the_minimum(pretrained):
    settings = TrainingConfig(schedule="plateau", learning_rate=1e-3, depth_factor=0.5)
    optimizer = built(settings, pretrained=pretrained).optimizer
    for expected in (3e-4, 9e-5, 5e-5, 5e-5):
        lower_learning_rate(optimizer, 0.3, 5e-5)
        assert learning_rate(optimizer) == pytest.approx(expected, rel=1e-6)
        found = sorted(float(keras.ops.convert_to_numpy(part.learning_rate)) for part in parts_of(optimizer))
        assert found == pytest.approx([expected * 0.5**depth for depth in reversed(range(len(found)))], rel=1e-5)
    # A rate that is below the minimum already is not raised to it.
    lower_learning_rate(optimizer, 0.3, 1e-2)
    assert learning_rate(optimizer) == pytest.approx(5e-5, rel=1e-6)


def test_depth_factor__moves_each_stage_by_its_own_rate():
    """The first step of Adam is as long as the rate, in each weight that has a gradient."""
    settings = TrainingConfig(schedule="constant", learning_rate=1e-2, depth_factor=0.5, gradient_clip=1.0)
    network = built(settings, pretrained=True)
    before = {variable.path: value for variable, value in zip(network.variables, values(network.variables), strict=True)}
    network.train_on_batch(*small_batch())

    def moved(kernel: keras.Variable) -> float:
        return float(np.abs(values([kernel])[0] - before[kernel.path]).max())

    branch = network.get_layer("resnet50")
    found = [moved(branch.get_layer(f"{stage}_conv").kernel) for stage in STAGES]
    assert found == pytest.approx([1e-2 * 0.5**depth for depth in (5, 4, 3, 2, 1)], rel=1e-2)
    for kernel in (network.get_layer("convnet").get_layer("stem_conv").kernel, network.get_layer("dense").kernel):
        assert moved(kernel) == pytest.approx(1e-2, rel=1e-2)
    counters = [variable for variable in network.optimizer.variables if variable.name == "iteration"]
    assert [int(value) for value in values(counters)] == [1] * 7


@pytest.mark.one_backend
def test_depth_factor__has_a_group_for_each_stage_of_the_real_resnet50(network):
    optimizer = build_optimizer(TrainingConfig(depth_factor=0.5), network, 10, pretrained=True)
    optimizer.build(network.trainable_variables)
    of_stage = {id(variable) for variable in network.get_layer("resnet50").trainable_variables}
    *groups, rest = [part._trainable_variables for part in parts_of(optimizer)]
    assert [{variable.path.split("_")[0] for variable in group} for group in groups] == [{stage} for stage in STAGES[::-1]]
    assert {id(variable) for group in groups for variable in group} == of_stage
    assert len(rest) == len(network.trainable_variables) - len(of_stage) > 0


@pytest.mark.parametrize(
    ("pretrained", "head_only", "factor", "frozen"),
    [(False, False, 0.5, False), (True, True, 0.5, False), (True, False, 1.0, False), (True, False, 0.5, True)],
)
def test_depth_factor__makes_one_optimizer_where_there_is_one_rate(pretrained, head_only, factor, frozen):
    network = small_network()
    network.get_layer("resnet50").trainable = not frozen
    optimizer = build_optimizer(TrainingConfig(depth_factor=factor), network, 10, pretrained, head_only)
    assert type(optimizer).__name__ == "Adam"


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_accumulate__of_two_batches_is_one_batch_of_twice_the_size(factor):
    images, labels = small_batch(16)
    keys = {"schedule": "constant", "learning_rate": 1e-2, "depth_factor": factor, "optimizer": "adamw"}
    ends = []
    for accumulate in (1, 2):
        keras.utils.set_random_seed(0)
        settings = TrainingConfig(accumulate=accumulate, **keys)
        network = built(settings, pretrained=True, batch_norm=False)
        for _ in range(3):
            for part in np.split(np.arange(16), accumulate):
                network.train_on_batch(images[part], labels[part])
        ends.append(values(network.variables))
    for one, two in zip(*ends, strict=True):
        # Adam divides by the root of the mean square: where a gradient is nearly zero, its rounding decides the step's sign.
        assert np.quantile(np.abs(one - two), 0.95) < 1e-5
        np.testing.assert_allclose(one, two, atol=2e-3)


def gradient_norm(optimizer: keras.Optimizer) -> float:
    """The norm of what Adam saw in its only step: its first moment is a tenth of it."""
    moments = [variable for variable in optimizer.variables if variable.name.endswith("momentum")]
    assert moments
    return 10 * math.sqrt(sum(float(np.square(value).sum()) for value in values(moments)))


@pytest.mark.parametrize(
    ("accumulate", "factor"),
    [(1, 1.0), (1, 0.5), pytest.param(2, 1.0, marks=pytest.mark.one_backend), (2, 0.5)],
)
def test_gradient_clip__limits_the_norm_of_all_gradients_together(factor, accumulate):
    norms = {}
    for clip in (0.0, 100.0, 0.01):
        keras.utils.set_random_seed(0)
        network = built(TrainingConfig(gradient_clip=clip, depth_factor=factor, accumulate=accumulate), pretrained=True)
        for _ in range(accumulate):
            network.train_on_batch(*small_batch())
        norms[clip] = gradient_norm(network.optimizer)
    assert norms[0.0] > 0.02
    assert norms[100.0] == pytest.approx(norms[0.0], rel=1e-4)
    assert norms[0.01] == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("accumulate", "factor"),
    [(1, 1.0), (1, 0.5), pytest.param(2, 1.0, marks=pytest.mark.one_backend), (2, 0.5)],
)
def test_ema__is_that_of_the_formula_and_leaves_the_weights_alone(factor, accumulate):
    settings = TrainingConfig(ema=0.81, learning_rate=1e-2, schedule="constant", depth_factor=factor, accumulate=accumulate)
    network = built(settings, pretrained=True)
    expected: dict[str, np.ndarray] = {}
    for step in range(3 * accumulate):
        network.fit(*small_batch(seed=step), batch_size=8, verbose=0)
        for variable, value in zip(network.trainable_variables, values(network.trainable_variables), strict=True):
            # With two batches to an update, each adds its half: the momentum of an update is 0.81 all the same.
            momentum = 0.81 ** (1 / accumulate) if step >= accumulate else 0
            expected[variable.path] = momentum * expected.get(variable.path, 0 * value) + (1 - momentum) * value
    parts = parts_of(network.optimizer)
    pairs = [pair for part in parts for pair in zip(part._trainable_variables, part._model_variables_moving_average, strict=True)]
    assert len(pairs) == len(network.trainable_variables)
    for variable, average in pairs:
        np.testing.assert_allclose(values([average])[0], expected[variable.path], rtol=1e-4, atol=1e-6)
    kernel = network.get_layer("dense").kernel
    assert not np.allclose(values([kernel])[0], expected[kernel.path], atol=1e-5)


ALL = {"optimizer": "adamw", "learning_rate": 1e-2, "ema": 0.9, "gradient_clip": 0.5, "schedule": "one-cycle"}


@pytest.mark.parametrize(
    "settings",
    [TrainingConfig(), TrainingConfig(**ALL, depth_factor=0.5, accumulate=2)],
    ids=["plain", "all keys"],
)
def test_restored_variables__give_the_same_next_steps(settings):
    network = built(settings, pretrained=True, traced=True)
    for step in range(3):
        network.train_on_batch(*small_batch(seed=step))
    held = values(network.variables), values(network.optimizer.variables)
    fresh = built(settings, pretrained=True, traced=True)
    for variables, saved in zip((fresh.variables, fresh.optimizer.variables), held, strict=True):
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)
    for step in range(3, 6):
        for each in (network, fresh):
            each.train_on_batch(*small_batch(seed=step))
    assert same(values(network.variables), values(fresh.variables))
    assert same(values(network.optimizer.variables), values(fresh.optimizer.variables))
    assert not same(values(network.variables), held[0])


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps__are_those_of_torch(kind):
    torch = pytest.importorskip("torch", reason=needs("torch"))
    random = np.random.default_rng(0)
    starts = {"kernel": random.normal(size=(3, 4)), "bias": random.normal(size=4), "gamma": random.normal(size=4) + 1}
    ours = [keras.Variable(value.astype(np.float32), name=name) for name, value in starts.items()]
    theirs = [torch.nn.Parameter(torch.tensor(value.astype(np.float32))) for value in starts.values()]
    settings = TrainingConfig(optimizer=kind, learning_rate=1e-2, weight_decay=0.3, schedule="constant")
    optimizer = build_optimizer(settings, small_network(), 10)
    optimizer.build(ours)
    groups = [
        {"params": theirs[:1], "weight_decay": 0.3 if kind == "adamw" else 0.0},
        {"params": theirs[1:], "weight_decay": 0.0},
    ]
    reference = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(groups, lr=1e-2, eps=1e-7)
    for _ in range(5):
        gradients = [random.normal(size=value.shape).astype(np.float32) for value in starts.values()]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], ours)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        reference.step()
    for variable, parameter in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(values([variable])[0], parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


def learning(network: keras.Model) -> set[str]:
    """The layers that have weights and train all of them."""
    layers = [layer for layer in network._flatten_layers() if layer.weights and not isinstance(layer, keras.Model)]
    return {layer.name for layer in layers if layer.trainable and layer.trainable_variables}


EVERYTHING = {f"{stage}_{kind}" for stage in (*STAGES, "stem") for kind in ("conv", "bn")} | {"dense", "probability"}
RESNET50 = {f"{stage}_{kind}" for stage in STAGES for kind in ("conv", "bn")}
NORMALISING = {f"{stage}_bn" for stage in STAGES}


@pytest.mark.parametrize(
    ("keys", "pretrained", "head_only", "images", "rests"),
    [
        ({}, True, False, 10, set()),
        ({"freeze_resnet50": True}, False, False, 10, RESNET50),
        ({}, True, True, 10, RESNET50),
        ({"freeze_batch_norm": "small"}, True, False, 999, NORMALISING),
        ({"freeze_batch_norm": "small"}, True, False, 1000, set()),
        ({"freeze_batch_norm": "always"}, True, False, 10_000, NORMALISING),
        ({"freeze_batch_norm": "always"}, False, False, 10, set()),
        ({"freeze_batch_norm": "always", "freeze_resnet50": True}, True, False, 10, RESNET50),
    ],
)
def test_freeze_layers__sets_every_layer_anew(keys, pretrained, head_only, images, rests):
    network = small_network()
    for trainable in (True, False):
        # Whatever was set before, and however often it is called.
        network.trainable = trainable
        network.get_layer("dense").trainable = not trainable
        for _ in range(2):
            freeze_layers(network, TrainingConfig(**keys), pretrained=pretrained, head_only=head_only, train_images=images)
            assert learning(network) == EVERYTHING - rests


def test_freeze_layers__lets_the_only_branch_rest_in_the_head_stage():
    start = keras.Input((8, 8, 3), dtype="uint8")
    branch = small_network().get_layer("convnet")
    network = keras.Model(start, keras.layers.Dense(1, name="probability")(branch(keras.layers.Rescaling(1 / 255)(start))))
    freeze_layers(network, TrainingConfig(), pretrained=True, head_only=True, train_images=10)
    assert learning(network) == {"probability"}
    freeze_layers(network, TrainingConfig(freeze_batch_norm="always"), pretrained=True, head_only=False, train_images=10)
    assert learning(network) == {"probability", "stem_conv", "stem_bn"}


def test_frozen_batch_norm__keeps_its_statistics_in_fit():
    network = small_network()
    settings = TrainingConfig(freeze_batch_norm="always", learning_rate=1e-2)
    for head_only in (True, False):
        freeze_layers(network, settings, pretrained=True, head_only=head_only, train_images=10)
        compile_network(network, build_optimizer(settings, network, 10, True, head_only))
        frozen = [network.get_layer("resnet50").get_layer(f"{stage}_bn").variables for stage in STAGES]
        frozen = [variable for variables in frozen for variable in variables]
        free = network.get_layer("convnet").get_layer("stem_bn").variables
        kernels = [network.get_layer("resnet50").get_layer(f"{stage}_conv").kernel for stage in STAGES]
        before, free_before, kernels_before = values(frozen), values(free), values(kernels)
        network.fit(*small_batch(), batch_size=4, epochs=2, verbose=0)
        assert same(values(frozen), before)
        assert same(values(kernels), kernels_before) == head_only
        assert not any(same([one], [two]) for one, two in zip(values(free), free_before, strict=True))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([[0.0], [1.0], [0.3]], [[0.05], [0.95], [0.32]]), ([[0.0, 1.0, 0.0, 0.0]], [[0.025, 0.925, 0.025, 0.025]])],
)
def test_smooth_labels__spreads_a_share_over_all_classes(labels, expected):
    smoothed = smooth_labels(np.array(labels, np.float32), 0.1)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-6)
    assert smoothed.dtype == np.float32
    assert same([smooth_labels(np.array(labels, np.float32), 0.0)], [np.array(labels, np.float32)])


@pytest.mark.one_backend
def test_defaults__are_those_that_were_asked_for(network):
    settings = Config().training
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == (70, 32, 1e-4)
    assert settings.schedule == "plateau"
    assert Config().augment.augment
    optimizer = build_optimizer(settings, network, 100)
    assert type(optimizer).__name__ == "Adam"
    compile_network(network, optimizer)
    assert type(network.loss) is keras.losses.BinaryCrossentropy
    assert network.get_layer("probability").activation is keras.activations.sigmoid
    assert network.get_layer("probability").units == 1


@pytest.mark.one_backend
def test_defaults__train_every_layer(network):
    layers = [*network.layers, *network.get_layer("resnet50").layers, *network.get_layer("convnet").layers]
    assert [layer.name for layer in layers if not layer.trainable] == []
    frozen = {variable.name for variable in network.non_trainable_variables}
    assert frozen <= {"moving_mean", "moving_variance", "seed_generator_state"}


# Two images: their true classes have the probabilities 0.8 and 0.6.
OF_TWO = np.array([[1.0], [0.0]]), np.array([[0.8], [0.4]])
OF_THREE = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.1, 0.8, 0.1], [0.6, 0.1, 0.3]])


@pytest.mark.parametrize(("classes", "batch"), [(2, OF_TWO), (3, OF_THREE)])
def test_losses__are_those_of_their_names(classes, batch):
    entropy = -np.log([0.8, 0.6])
    assert float(build_loss("cross-entropy", classes)(*batch)) == pytest.approx(entropy.mean(), rel=1e-5)
    # Focal: each image weighted by (1 - probability of its true class) squared.
    assert float(build_loss("focal", classes)(*batch)) == pytest.approx((entropy * [0.2**2, 0.4**2]).mean(), rel=1e-5)


def test_cross_entropy__of_soft_labels():
    labels, probabilities = np.array([[0.3]]), np.array([[0.8]])
    expected = -0.3 * math.log(0.8) - 0.7 * math.log(0.2)
    assert float(build_loss("cross-entropy", 2)(labels, probabilities)) == pytest.approx(expected, rel=1e-5)
    labels, probabilities = np.array([[0.3, 0.7, 0.0]]), np.array([[0.8, 0.15, 0.05]])
    expected = -0.3 * math.log(0.8) - 0.7 * math.log(0.15)
    assert float(build_loss("cross-entropy", 3)(labels, probabilities)) == pytest.approx(expected, rel=1e-5)


def test_accuracy__of_soft_labels_of_two_classes():
    accuracy = build_accuracy(2)
    labels = np.array([[0.5], [0.7], [0.49], [0.0], [1.0]], np.float32)
    accuracy.update_state(labels, np.array([[0.5], [0.1], [0.2], [0.6], [0.9]], np.float32))
    assert float(accuracy.result()) == pytest.approx(3 / 5)
    accuracy.update_state(labels[:1], np.array([[0.9]], np.float32))
    assert float(accuracy.result()) == pytest.approx(4 / 6)


def test_accuracy__of_soft_labels_of_three_classes():
    accuracy = build_accuracy(3)
    labels = np.array([[0.4, 0.6, 0.0], [0.4, 0.0, 0.6], [1.0, 0.0, 0.0]], np.float32)
    accuracy.update_state(labels, np.array([[0.1, 0.5, 0.4], [0.5, 0.1, 0.4], [0.4, 0.3, 0.3]], np.float32))
    assert float(accuracy.result()) == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_weights__count_in_the_loss_and_not_in_the_accuracy(classes):
    pixels, units = keras.Input((4,)), 1 if classes == 2 else classes
    output = keras.layers.Dense(units, activation="sigmoid" if classes == 2 else "softmax")(pixels)
    network = keras.Model(pixels, output)
    compile_network(network, keras.optimizers.Adam())
    inputs = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    targets = np.arange(6) % classes
    weights = np.array([0.5, 2, 1, 0, 3, 1], np.float32)
    found = network.test_on_batch(inputs, encode_labels(targets, classes), weights, return_dict=True)
    probabilities = keras.ops.convert_to_numpy(network(inputs))
    probabilities = np.hstack([1 - probabilities, probabilities]) if classes == 2 else probabilities
    losses = -np.log(probabilities[np.arange(6), targets])
    assert found["loss"] == pytest.approx((weights * losses).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == targets))
