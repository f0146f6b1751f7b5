"""An encoder's network and the decoder that reads what it sees, in one, on any backend of Keras.

Legend: `B` photos, `K` captions of each, `N = B * K`, `T` words, `V` vocabulary.
"""

import dataclasses

import keras
from keras import ops

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import augmentation, specs, weights


@dataclasses.dataclass(frozen=True)
class Sight:
    """An encoder's network and the decoder that reads what it sees.

    Attributes:
        encoder: Name of the encoder, one of `captioner.encoders.specs.ENCODERS`.
        network: From preprocessed pixels to `pooled` and `regions`, as from `specs.cut_network`.
        decoder: The decoder.
        fingerprint: What tells the encoder's weights, as they came, from others.
    """

    encoder: str
    network: keras.Model
    decoder: CaptionDecoder
    fingerprint: str = ""

    def start(self, inputs, training: bool):
        """Looks at the view of each photo; returns what the decoder starts from."""
        pixels = augmentation.see(inputs["photos"], inputs["boxes"], inputs["factors"], self.network.input.shape[1])
        seen = self.network(specs.ENCODERS[self.encoder].preprocess(pixels), training=False)
        return self.decoder.start(seen["pooled"], seen["regions"], training=training)

    def read(self, started, ids, training: bool):
        """Returns the logits `(N, T, V)` of captions `ids` `(B, K, T + 1)`, which begin with the start marker."""
        states, memory, keys = started
        input_ids = ops.reshape(ids[..., :-1], (-1, ops.shape(ids)[-1] - 1))
        # The end marker is a target only; as an input it would start a word that is never scored.
        input_ids = ops.where(input_ids == Vocabulary.end_id, Vocabulary.pad_id, input_ids)
        states = [ops.repeat(state, ids.shape[1], axis=0) for state in states]
        return self.decoder.read(input_ids, states, memory, keys, training=training)[0]


@dataclasses.dataclass(frozen=True)
class TeachingCaptioner:
    """A captioner that teaches.

    Attributes:
        name: Its name.
        version: What tells it from others, see `captioner.artifacts.catalogue.version_of`.
        words: Its vocabulary's, which must be those of who learns.
        sight: Encoder and decoder.
    """

    name: str
    version: str
    words: tuple[str, ...]
    sight: Sight


def build_sight(encoder: str, vocabulary: Vocabulary, settings: config.DecoderConfig) -> Sight:
    """Returns an encoder as it comes, and a fresh decoder.

    Raises:
        ValueError: If there is no such encoder, or the file does not hold its weights.
        FileNotFoundError: If its weights cannot be had.
    """
    spec = specs.find_spec(encoder)
    whole = weights.load_network(encoder, weights.find_weights(encoder))
    network = specs.cut_network(encoder, whole, spec.regions_layers[0])
    num_regions, region_size = network.output["regions"].shape[1:]
    pooled_size = network.output["pooled"].shape[-1]
    decoder = CaptionDecoder(len(vocabulary), pooled_size, num_regions, region_size, settings)
    return Sight(encoder, network, decoder, weights.digest_weights(whole))
