"""Trains a word detector on the photos and captions that a captioner was trained on.

Only content words are detected, those that enough photos have been described with, and none that say who is male or
female: people describe one photo with both, and the commoner would always be likely. What nobody says of a photo may be
in it all the same, so a word's probability is that of being said, not of being there.

Legend: `B` photos, `P` pooled size, `D` region depth, `W` detected words.
"""

from collections.abc import Mapping, Sequence, Set

import keras
import numpy as np
import tqdm

from captioner.data.claim_words import read_claim_words
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.word_detector import WordDetector, pool_features
from captioner.encoders.features import FeatureStore

# A word that fewer train photos were described with is not detected.
MIN_PHOTOS = 10
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _DROPOUT, _WEIGHT_DECAY = 12, 128, 2e-3, 0.5, 1e-4


def train_word_detector(
    references: Mapping[str, Sequence[str]],
    features: FeatureStore,
    vocabulary: Vocabulary,
    *,
    min_photos: int = MIN_PHOTOS,
    seed: int = 0,
    progress: bool = True,
) -> WordDetector | None:
    """Trains a word detector.

    Args:
        references: Image id -> cleaned captions of the train photos.
        features: Features of these photos.
        vocabulary: The words.
        min_photos: Of how many photos a word must have been said.
        seed: Of weights, order and dropout.
        progress: Whether to show a progress bar.

    Returns:
        The detector, with weights as they will be saved; `None` if no word is said of enough photos.
    """
    lists = read_claim_words()
    gendered = lists["male"] | lists["female"]
    wanted = {i for i in vocabulary.said_once if vocabulary.words[i] not in gendered}
    said = [_find_words(texts, vocabulary, wanted) for texts in references.values()]
    counts = np.bincount(np.concatenate(said), minlength=len(vocabulary))
    word_ids = np.flatnonzero(counts >= min_photos).astype(np.int32)
    if not len(word_ids):
        return None
    keras.utils.set_random_seed(seed)
    size = features.pooled.shape[-1] + features.regions.shape[-1]
    classifier = keras.layers.Dense(len(word_ids), activation="sigmoid")
    model = keras.Sequential([keras.Input((size,)), keras.layers.Dropout(_DROPOUT), classifier])
    model.compile(keras.optimizers.AdamW(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY), "binary_crossentropy")
    image_ids, random = list(references), np.random.default_rng(seed)
    num_batches = -(-len(image_ids) // _BATCH_SIZE)
    with tqdm.tqdm(total=_EPOCHS * num_batches, desc="word detector", unit="batch", disable=not progress) as bar:
        for _ in range(_EPOCHS):
            for indices in np.array_split(random.permutation(len(image_ids)), num_batches):
                labels = np.stack([np.isin(word_ids, said[index]) for index in indices]).astype(np.float32)  # (B, W)
                model.train_on_batch(pool_features(*features.rows([image_ids[index] for index in indices])), labels)
                bar.update()
    kernel, bias = classifier.get_weights()
    return WordDetector(word_ids, kernel.astype(np.float16).astype(np.float32), bias, len(vocabulary))


def _find_words(texts: Sequence[str], vocabulary: Vocabulary, wanted: Set[int]) -> np.ndarray:
    """Returns the ids of those of the wanted words that some of the captions of a photo hold, each once, int64."""
    return np.array(sorted({i for text in texts for i in vocabulary.encode(text)} & wanted), np.int64)
