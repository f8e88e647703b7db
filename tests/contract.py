"""What every part of the network keeps to: its gradient reaches each weight, and it is the same after save and load."""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray


def to_numpy(tensor: object) -> NDArray:
    """The values of a tensor or variable of any backend; NumPy by itself does not take PyTorch's."""
    return keras.ops.convert_to_numpy(tensor)


def check_every_weight_learns(model: keras.Model, inputs: NDArray, targets: NDArray, loss: str = "mse") -> None:
    """Two steps of Adam, which moves each weight that has any gradient. Two, for a gate that begins at zero holds back
    the gradient of the layers before it until it has moved itself."""
    before = [to_numpy(variable) for variable in model.trainable_variables]
    # JAX would compile each operation by itself, which takes longer than the whole step.
    model.compile(keras.optimizers.Adam(1e-2), loss, run_eagerly=keras.backend.backend() != "jax")
    for _ in range(2):
        model.train_on_batch(inputs, targets)
    after = [to_numpy(variable) for variable in model.trainable_variables]
    assert before
    stuck = [v.path for v, old, new in zip(model.trainable_variables, before, after, strict=True) if np.array_equal(old, new)]
    assert not stuck, stuck


def check_save_and_load(model: keras.Model, inputs: NDArray, path: Path) -> None:
    """The saved model, loaded without any object of ours, answers the same."""
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(to_numpy(loaded(inputs)), to_numpy(model(inputs)), rtol=1e-6, atol=1e-7)


def randomise(model: keras.Model, seed: int = 0) -> None:
    """Give each weight a random value, the statistics of batch normalisation too, so that none can be left out unseen."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name == "kernel":
            value = generator.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif variable.name in ("gamma", "moving_variance"):
            value = generator.uniform(0.5, 1.5, shape)
        else:
            value = generator.normal(0, 0.1, shape)
        variable.assign(value)
