"""The yardstick: image captioning as the best-known Flickr8k notebooks do it, with our encoder, widths and data.

Photos go through `predict()` one by one into a pickle of a dict. Each caption becomes one sample per prefix, padded on
the left to 34 words, with a target that is one-hot over the vocabulary. A caption is written by `predict()` per word
and a scan of the vocabulary for the word of an index. It is slow on purpose: nothing here is to be used.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

MAX_LENGTH = 34
START, END = "startseq", "endseq"


def extract_features(model: keras.Model, preprocess: Callable, paths: Sequence[Path], file: Path) -> dict:
    """Encodes photos one by one, pickles a dict of image id -> `pooled` `(1, P)` and returns it."""
    features = {}
    for path in paths:
        image = keras.utils.load_img(path, target_size=model.input_shape[1:3])
        pixels = keras.utils.img_to_array(image)[None]
        features[path.name] = model.predict(preprocess(pixels), verbose=0)["pooled"]
    file.write_bytes(pickle.dumps(features))
    return features


def build_model(pooled_size: int, vocabulary_size: int, units: int, embedding_size: int) -> keras.Model:
    """Builds the merge model: the photo and an LSTM's state are added, and the next word is predicted from the sum."""
    layers = keras.layers
    pooled, words = keras.Input((pooled_size,)), keras.Input((MAX_LENGTH,))
    photo = layers.Dense(units, activation="relu")(layers.Dropout(0.4)(pooled))
    embedded = layers.Embedding(vocabulary_size, embedding_size, mask_zero=True)(words)
    hidden = layers.LSTM(units)(layers.Dropout(0.4)(embedded))
    merged = layers.Dense(units, activation="relu")(layers.add([photo, hidden]))
    model = keras.Model([pooled, words], layers.Dense(vocabulary_size, activation="softmax")(merged))
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    return model


def number_words(words: Sequence[str]) -> dict[str, int]:
    """Returns word -> index, from 1, with markers."""
    return {word: number for number, word in enumerate([START, END, *words], 1)}


def generate_batches(
    captions: Mapping[str, Sequence[str]], features: Mapping[str, np.ndarray], indices: Mapping[str, int], size: int
) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """Yields endless batches of all samples of `size` photos: `pooled` `(N, P)`, words `(N, 34)`, targets `(N, V)`."""
    pooled, inputs, targets, photos = [], [], [], 0
    while True:
        for image_id, texts in captions.items():
            photos += 1
            for text in texts:
                sequence = [indices[word] for word in [START, *text.split(), END] if word in indices]
                for length in range(1, len(sequence)):
                    pooled.append(features[image_id][0])
                    inputs.append(keras.utils.pad_sequences([sequence[:length]], maxlen=MAX_LENGTH)[0])
                    targets.append(keras.utils.to_categorical([sequence[length]], num_classes=len(indices) + 1)[0])
            if photos == size:
                yield (np.array(pooled), np.array(inputs)), np.array(targets)
                pooled, inputs, targets, photos = [], [], [], 0


def write_caption(
    model: keras.Model, indices: Mapping[str, int], pooled: np.ndarray, max_words: int = MAX_LENGTH
) -> str:
    """Writes a caption greedily, at most so many words.

    Args:
        model: From `build_model`.
        indices: From `number_words`.
        pooled: `(1, P)`.
        max_words: As many words, markers not counted.
    """
    text = START
    for _ in range(max_words):
        sequence = [indices[word] for word in text.split()]
        padded = keras.utils.pad_sequences([sequence], maxlen=MAX_LENGTH)
        word = _find_word(int(np.argmax(model.predict([pooled, padded], verbose=0))), indices)
        if word is None or word == END:
            break
        text += f" {word}"
    return text.removeprefix(START).strip()


def _find_word(index: int, indices: Mapping[str, int]) -> str | None:
    for word, number in indices.items():
        if number == index:
            return word
    return None
