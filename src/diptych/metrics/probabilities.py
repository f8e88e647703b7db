"""The classes that follow from probabilities."""

import numpy as np
from numpy.typing import NDArray


def predict_targets(probabilities: NDArray[np.float64], threshold: float = 0.5) -> NDArray[np.int64]:
    """Return the predicted targets (N,) of probabilities (N, K).

    Of two classes, class 1 from the threshold on; of more, the most probable one.
    """
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    targets: NDArray[np.int64] = probabilities.argmax(axis=1)
    return targets
