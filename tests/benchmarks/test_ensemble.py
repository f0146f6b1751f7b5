"""Captioners that write together."""

import dataclasses

import numpy as np
import pytest

from benchmarks import ensemble
from captioner.data.vocabulary import SPECIAL_WORDS, Vocabulary


def captions_of(captioner, features, image_ids):
    return {image_id: found[0].text for image_id, found in captioner.caption_store(features, image_ids)}


def test_a_captioner_with_itself_writes_what_it_writes_alone(tiny_captioner, splits):
    features, ids = splits["validation"].features, list(splits["validation"].references)
    [together] = ensemble.search_together([tiny_captioner] * 2, [features] * 2, ids, [tiny_captioner.settings])
    assert together == captions_of(tiny_captioner, features, ids)


def test_the_first_word_is_the_likeliest_by_the_mean_of_both(tiny_captioner, build_captioner, splits):
    features, ids = splits["validation"].features, list(splits["validation"].references)
    both = [build_captioner(tiny_captioner.encoder, seed=seed, end_bias=0.0) for seed in (5, 6)]
    greedy = dataclasses.replace(both[0].settings, num_beams=1)
    vocabulary = both[0].vocabulary
    pooled, regions = features.rows(ids)
    start = {"pooled": pooled, "regions": regions, "input_ids": np.full((len(ids), 1), vocabulary.start_id)}
    probabilities = [np.exp(captioner.read_captions(start)[:, 0].numpy().astype(float)) for captioner in both]
    mean = sum(found / found.sum(axis=1, keepdims=True) for found in probabilities)
    mean[:, [vocabulary.pad_id, vocabulary.start_id, vocabulary.unknown_id, vocabulary.end_id]] = 0
    expected = [vocabulary.words[word] for word in mean.argmax(axis=1)]
    [together] = ensemble.search_together(both, [features] * 2, ids, [greedy])
    assert [caption.split()[0] for caption in together.values()] == expected


def test_other_words_are_refused(tiny_captioner, build_captioner):
    other = build_captioner(tiny_captioner.encoder)
    other.vocabulary, other.name = Vocabulary((*SPECIAL_WORDS, "a")), "other"
    with pytest.raises(ValueError, match="have other words than .*: other"):
        ensemble.search_together([tiny_captioner, other], [], [], [])
