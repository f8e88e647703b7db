"""Global attention: first over channels, then over places.

After the Global Attention Block of CABNet (He, Li, Li, Wang, Fu, IEEE TMI 40(1), 2021, pp. 143-153,
https://doi.org/10.1109/TMI.2020.3023463). Every layer is one of Keras's own, so that a saved model loads anywhere.
"""

from keras import KerasTensor, layers, ops

from diptych.settings.config import Attention

REDUCTION = 16


def global_attention(features: KerasTensor, form: Attention, name: str) -> KerasTensor:
    """Refine the features of one branch.

    "published" is the block as it stands in the paper: sigmoid gates without reduction, the spatial gate being the plain
    mean over the channels. It multiplies fresh features by about 0.3, with hardly any spatial contrast. "identity", the
    default, departs from it in three ways: the gates go from 0 to 2 and begin at 1 (their last layer begins at zero), so
    that the block begins as the identity; the channel gate has a bottleneck of 1/16 (Hu et al., CVPR 2018), 0.5 million
    parameters instead of 8.4; and the spatial gate learns how to weigh the channels. "none" leaves the features alone.
    Gates are computed in float32 under every precision: bfloat16 would leave a sigmoid some 100 steps between 0.5 and 1.

    Args:
        features: float (N, H, W, C).
        form: "identity", "published" or "none".
        name: of the branch; the gates are the layers `{name}_channel_gate`, float (N, 1, 1, C), and
            `{name}_spatial_gate`, float (N, H, W, 1).

    Returns:
        float (N, H, W, C).
    """
    if form == "none":
        return features
    gated = layers.Multiply(name=f"{name}_channel_attention")([features, channel_gate(features, form, name)])
    return layers.Multiply(name=f"{name}_spatial_attention")([gated, spatial_gate(gated, form, name)])


def channel_gate(features: KerasTensor, form: Attention, name: str) -> KerasTensor:
    channels = features.shape[-1]
    hidden = channels if form == "published" else max(1, channels // REDUCTION)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_channel_pool")(features)
    squeezed = layers.Conv2D(hidden, 1, activation="relu", name=f"{name}_channel_squeeze")(pooled)
    return gate(squeezed, channels, form, f"{name}_channel")


def spatial_gate(features: KerasTensor, form: Attention, name: str) -> KerasTensor:
    if form == "published":
        mean = ops.mean(features, axis=-1, keepdims=True)
        return layers.Activation("sigmoid", dtype="float32", name=f"{name}_spatial_gate")(mean)
    return gate(features, 1, form, f"{name}_spatial")


def gate(features: KerasTensor, channels: int, form: Attention, name: str) -> KerasTensor:
    gates = layers.Conv2D(
        channels,
        1,
        activation="sigmoid",
        kernel_initializer="glorot_uniform" if form == "published" else "zeros",
        dtype="float32",
        name=f"{name}_gate" if form == "published" else f"{name}_excite",
    )(features)
    return gates if form == "published" else layers.Rescaling(2.0, dtype="float32", name=f"{name}_gate")(gates)
