"""Captions written word by word: drawn as often as they are likely, or always the likeliest."""

import keras
import numpy as np
import pytest

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import sampling
from captioner.decoder.network import CaptionDecoder

VOCABULARY = Vocabulary.from_captions(["a red circle", "a blue disc", "a green tree"], 1)
PHOTOS = {"pooled": np.eye(3, 6, dtype=np.float32), "regions": np.ones((3, 4, 5), np.float32)}


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(3)
    settings = config.DecoderConfig(units=16, embedding_size=8, attention_size=8, memory_size=8, dropout=0.5)
    decoder = CaptionDecoder(len(VOCABULARY), 6, 4, 5, settings)
    # Fresh decoders find all words about equally likely.
    decoder.classifier.bias.assign(np.random.default_rng(0).normal(size=len(VOCABULARY)))
    return decoder


def write(decoder, chances):
    return sampling.CaptionSampler(decoder, VOCABULARY).predict_on_batch(PHOTOS | {"chances": chances})


def test_a_word_is_drawn_where_its_chance_lies_among_the_probabilities():
    logits = np.log(np.array([[0.1, 0.2, 0.7]] * 4, np.float32))
    assert np.array(sampling._draw(logits, np.array([0.05, 0.15, 0.35, 0.999], np.float32))).tolist() == [0, 1, 2, 2]
    assert np.array(sampling._draw(logits[:1], np.array([-1.0], np.float32))).tolist() == [2]
    # What is as good as impossible is never drawn, by no chance.
    logits[:, 0] = -1e9
    assert np.array(sampling._draw(logits[:1], np.array([0.0], np.float32))).tolist() == [1]


def test_nothing_but_words_is_written_and_padding_follows_the_end(decoder):
    drawn = write(decoder, np.random.default_rng(0).random((3, 40, 6), np.float32))
    assert drawn.shape == (3, 40, 6)
    captions = drawn.reshape(-1, 6)
    for row in captions:
        words = row[: (row > 0).sum()]
        assert (row[len(words) :] == VOCABULARY.pad_id).all()
        assert VOCABULARY.end_id not in words[:-1]
        assert not {VOCABULARY.unknown_id, VOCABULARY.start_id} & set(words.tolist())
    assert len({tuple(row) for row in captions}) > 50


def test_without_chances_each_word_is_the_likeliest_after_those_before(decoder):
    [[first], *_] = written = write(decoder, np.full((3, 1, 5), -1, np.float32))
    assert written.shape == (3, 1, 5)
    input_ids = np.array([[VOCABULARY.start_id, *first[:-1]]], np.int32)
    logits = decoder({name: array[:1] for name, array in PHOTOS.items()} | {"input_ids": input_ids})
    expected = np.array(logits)[0]
    expected[:, [VOCABULARY.pad_id, VOCABULARY.unknown_id, VOCABULARY.start_id]] = -np.inf
    length = (first > 0).sum()
    assert first[:length].tolist() == expected.argmax(-1)[:length].tolist()


def test_the_first_word_is_drawn_as_often_as_it_is_likely(decoder):
    drawn = write(decoder, np.random.default_rng(1).random((3, 4000, 1), np.float32))[0, :, 0]
    input_ids = np.array([[VOCABULARY.start_id]], np.int32)
    logits = np.array(decoder({name: array[:1] for name, array in PHOTOS.items()} | {"input_ids": input_ids}))[0, 0]
    logits[[VOCABULARY.pad_id, VOCABULARY.unknown_id, VOCABULARY.start_id]] = -np.inf
    probabilities = np.exp(logits) / np.exp(logits).sum()
    shares = np.bincount(drawn, minlength=len(VOCABULARY)) / len(drawn)
    np.testing.assert_allclose(shares, probabilities, atol=0.03)
