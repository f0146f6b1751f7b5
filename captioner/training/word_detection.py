"""Trains a word detector on the photos and captions that a captioner was trained on.

All content words are detected but those that say who is male or female: people describe one photo with both, and the
commoner would always be likely. What nobody says of a photo may be in it all the same, so a word's probability is that
of being said, not of being there.

Legend: `B` photos, `P` pooled size, `D` region depth, `H` shared size, `W` detected words.
"""

from collections.abc import Mapping, Sequence, Set

import keras
import numpy as np
import tqdm

from captioner.data.claim_words import read_claim_words
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.word_detector import WordDetector, pool_features
from captioner.encoders.features import FeatureStore

# `H`.
_SHARED_SIZE = 512
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _DROPOUT, _WEIGHT_DECAY = 16, 128, 2e-3, 0.5, 1e-4


def train_word_detector(
    references: Mapping[str, Sequence[str]],
    features: FeatureStore,
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    progress: bool = True,
) -> WordDetector | None:
    """Trains a word detector.

    Args:
        references: Image id -> cleaned captions of the train photos.
        features: Features of these photos.
        vocabulary: The words.
        seed: Of weights, order and dropout.
        progress: Whether to show a progress bar.

    Returns:
        The detector, with weights as they will be saved; `None` if no photo is described with a word to detect.
    """
    lists = read_claim_words()
    gendered = lists["male"] | lists["female"]
    wanted = {i for i in vocabulary.said_once if vocabulary.words[i] not in gendered}
    said = [_find_words(texts, vocabulary, wanted) for texts in references.values()]
    word_ids = np.unique(np.concatenate(said)).astype(np.int32)
    if not len(word_ids):
        return None
    keras.utils.set_random_seed(seed)
    size = features.pooled.shape[-1] + features.regions.shape[-1]
    shared = keras.layers.Dense(_SHARED_SIZE, use_bias=False)
    classifier = keras.layers.Dense(len(word_ids), activation="sigmoid")
    model = keras.Sequential([keras.Input((size,)), keras.layers.Dropout(_DROPOUT), shared, classifier])
    model.compile(keras.optimizers.AdamW(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY), "binary_crossentropy")
    image_ids, random = list(references), np.random.default_rng(seed)
    num_batches = -(-len(image_ids) // _BATCH_SIZE)
    with tqdm.tqdm(total=_EPOCHS * num_batches, desc="word detector", unit="batch", disable=not progress) as bar:
        for _ in range(_EPOCHS):
            for indices in np.array_split(random.permutation(len(image_ids)), num_batches):
                labels = np.stack([np.isin(word_ids, said[index]) for index in indices]).astype(np.float32)  # (B, W)
                model.train_on_batch(pool_features(*features.rows([image_ids[index] for index in indices])), labels)
                bar.update()
    matrices = (keras.ops.convert_to_numpy(layer.kernel) for layer in (shared, classifier))
    first, second = (matrix.astype(np.float16).astype(np.float32) for matrix in matrices)
    return WordDetector(word_ids, first, second, keras.ops.convert_to_numpy(classifier.bias), len(vocabulary))


def _find_words(texts: Sequence[str], vocabulary: Vocabulary, wanted: Set[int]) -> np.ndarray:
    """Returns the ids of those of the wanted words that some of the captions of a photo hold, each once, int64."""
    return np.array(sorted({i for text in texts for i in vocabulary.encode(text)} & wanted), np.int64)
