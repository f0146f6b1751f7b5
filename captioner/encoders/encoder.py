"""Image encoders: a network that turns a photo into what the decoder attends to.

An encoder gives two views of a photo in one pass: `pooled`, one vector of the whole, and `regions`, one vector
for each cell of a grid, row by row from the top left. Legend: `B` batch, `S` side of the photo in pixels,
`P` pooled size, `R` regions, `D` region depth.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from captioner.encoders import compact, specs
from captioner.encoders.folding import call_folded
from captioner.encoders.grids import turn_back
from captioner.encoders.weights import digest_weights, find_weights, load_network

# Of so few photos a photo and its mirror image are encoded in one pass, which takes two thirds of the time of two.
_FEW = 4


class Encoder:
    """A frozen network with a `pooled` and a `regions` output. Make one with `load_encoder`.

    What it gives is that of the weights at its first call; who changes them says so by `adopt_changes`.

    Attributes:
        name: Key in `specs.ENCODERS`.
        regions_layer: Name of the layer that gives the regions.
        image_size: Side `S` of the photos it takes.
        pooled_size, num_regions, region_size: `P`, `R` and `D`.
        fingerprint: Digest of the weights; equal weights give equal fingerprints, whatever file they came from.
        mirrored: Whether features are means over the photo and its mirror image, whose grid is turned back.
        weights_file: Where the weights came from; `None` where that is no file.
        ships: Whether the weights ship with the project; a captioner carries all of them with it.
        changed_layers: Layers that were fine-tuned; a captioner carries their kernels with it.
        facts: What is known of the weights, if they ship with the project; see `captioner.encoders.compact.read_facts`.
        network: The whole network, to its last layer.
        model: From preprocessed pixels to `pooled` and `regions`; it shares the weights of `network`.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        regions_layer: str,
        weights_file: Path | None = None,
        *,
        mirrored: bool = False,
        facts: Mapping | None = None,
    ):
        spec = specs.ENCODERS[name]
        self.name = name
        self.regions_layer = regions_layer
        self.weights_file = weights_file
        self.mirrored = mirrored
        self.facts = dict(facts or {})
        self.ships = spec.shipped is not None
        self.image_size = network.input.shape[1]
        self.changed_layers: tuple[str, ...] = ()
        self.network = network
        self.fingerprint = digest_weights(network)
        self.model = specs.cut_network(name, network, regions_layer)
        self.pooled_size = self.model.output["pooled"].shape[-1]
        self.num_regions, self.region_size = self.model.output["regions"].shape[1:]
        self._compiled = self._compile()

    def encode(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encodes a batch of photos.

        Args:
            photos: RGB, uint8, `(B, S, S, 3)`, as `captioner.data.photos.load_photo` gives them.

        Returns:
            `pooled` `(B, P)` and `regions` `(B, R, D)`, float32.

        Raises:
            ValueError: If the photos have another shape or dtype.
        """
        shape = (self.image_size, self.image_size, 3)
        if photos.dtype != np.uint8 or photos.shape[1:] != shape:
            raise ValueError(
                f"{self.name} takes uint8 photos of shape (B, {shape[0]}, {shape[1]}, 3). "
                f"Received: dtype={photos.dtype}, shape={photos.shape}"
            )
        passes = [photos, photos[:, :, ::-1]] if self.mirrored else [photos]
        if len(photos) <= _FEW:
            passes = [np.concatenate(passes)]
        # Else one after the other: both at once would double the memory that VGG16 needs.
        views = [self._compiled(one) for one in passes]
        pooled, regions = (np.concatenate([one[view].numpy() for one in views]) for view in ("pooled", "regions"))
        if self.mirrored:
            count = len(photos)
            pooled = (pooled[:count] + pooled[count:]) / 2
            regions = (regions[:count] + turn_back(regions[count:])) / 2
        return pooled, regions

    def adopt_changes(self, layers: tuple[str, ...]) -> None:
        """Takes note that layers learnt since they were loaded: features are now those of another encoder."""
        self.changed_layers = layers
        self.fingerprint = digest_weights(self.network)
        self._compiled = self._compile()

    def _compile(self):
        shape = (None, self.image_size, self.image_size, 3)
        # Nothing in it needs AutoGraph, which would read and rewrite all of its Python first.
        return tf.function(self._encode, input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)

    def _encode(self, photos):
        return call_folded(self.model, specs.ENCODERS[self.name].preprocess(tf.cast(photos, "float32")))


def load_encoder(
    name: str,
    *,
    regions_layer: str | None = None,
    weights: str | Path | None = "imagenet",
    mirrored: bool = False,
) -> Encoder:
    """Builds an encoder with its trained weights.

    Args:
        name: One of `specs.ENCODERS`.
        regions_layer: Layer that gives the regions, by default the encoder's first; VGG16 also has
            `"block5_conv3"`, a 14x14 grid for finer attention at four times the cache.
        weights: `"imagenet"` looks in the folder `CAPTIONER_WEIGHTS`, in Keras' cache, and downloads; a path names
            the file, or a folder as for `captioner.encoders.weights.find_weights`; `None` leaves the weights random,
            for tests.
        mirrored: Whether features are means over the photo and its mirror image.

    Raises:
        ValueError: If name or layer are unknown, or a file is damaged or does not hold this network's weights.
        FileNotFoundError: If no weights can be had; the message says what was tried and what to do.
    """
    spec = specs.find_spec(name)
    regions_layer = regions_layer or spec.regions_layers[0]
    if regions_layer not in spec.regions_layers:
        raise ValueError(f"regions_layer of {name} must be one of {spec.regions_layers}. Received: {regions_layer!r}")
    if weights is None:
        return Encoder(name, spec.build(), regions_layer, mirrored=mirrored)
    path = find_weights(name, None if weights == "imagenet" else weights)
    facts = compact.read_facts(path) if spec.shipped else None
    return Encoder(name, load_network(name, path), regions_layer, path, mirrored=mirrored, facts=facts)
