"""Captions from photos, at toy size: S=32, P=5, R=16, D=5, V=16, at most 6 words."""

import concurrent.futures

import keras
import numpy as np
import pytest
from PIL import Image

from captioner import config, inference


@pytest.fixture
def features(tiny_captioner, drawn_photos):
    return tiny_captioner.encoder.encode(drawn_photos)


def searching(num_beams, **choices):
    return config.DecodingConfig(num_beams, **{"max_length": 6} | choices)


def texts(found):
    return [[caption.text for caption in captions] for captions in found]


def write_greedily(captioner, pooled, regions):
    """Greedy search by hand: one photo, one word at a time, straight through the decoder."""
    decoder, vocabulary = captioner.decoder, captioner.vocabulary
    states, memory, keys = decoder.start(pooled[None], regions[None])
    token_id, words = vocabulary.start_id, []
    while len(words) < captioner.settings.max_length:
        logits, _, states = decoder.step(np.array([token_id], np.int32), states, memory, keys)
        logits = np.array(keras.ops.convert_to_numpy(logits)[0])
        logits[[vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id]] = -np.inf
        if not words:
            logits[vocabulary.end_id] = -np.inf
        said = list(zip(words, words[1:], words[2:], strict=False))
        repeating = [n for n, word in enumerate(vocabulary.words) if (*words[-2:], word) in said]
        logits[repeating] = -np.inf
        token_id = int(logits.argmax())
        if token_id == vocabulary.end_id:
            break
        words.append(vocabulary.words[token_id])
    return " ".join(words)


def test_one_beam_writes_what_greedy_search_by_hand_writes(tiny_captioner, features):
    found = tiny_captioner.caption_features(*features, searching(1))
    assert texts(found) == [[write_greedily(tiny_captioner, *views)] for views in zip(*features, strict=True)]
    # Otherwise the tests here would compare nothing.
    assert len({captions[0].text for captions in found}) >= 5
    assert len({len(captions[0].words) for captions in found}) >= 2


def test_photos_of_a_batch_get_the_captions_they_get_alone(tiny_captioner, drawn_photos):
    together = tiny_captioner.caption_photos(drawn_photos, searching(3))
    alone = [tiny_captioner.caption_photos(photo[None], searching(3))[0] for photo in drawn_photos]
    assert texts(together) == texts(alone)
    for one, other in zip(together, alone, strict=True):
        assert [c.log_prob for c in one] == pytest.approx([c.log_prob for c in other], abs=1e-3)


def test_captions_come_best_first_and_differ(tiny_captioner, features):
    for captions in tiny_captioner.caption_features(*features, searching(4)):
        assert 1 <= len(captions) <= 4
        assert len({caption.text for caption in captions}) == len(captions)


def test_a_text_is_its_words_and_every_word_has_its_numbers(tiny_captioner, features):
    for captions in tiny_captioner.caption_features(*features):
        for caption in captions:
            assert caption.text == " ".join(caption.words)
            assert 1 <= len(caption.words) <= 6
            assert caption.word_log_probs.shape == (len(caption.words),)
            assert caption.attention_scores.shape == (len(caption.words), 17)


def test_attention_of_every_word_sums_to_one(tiny_captioner, features):
    for captions in tiny_captioner.caption_features(*features):
        for caption in captions:
            np.testing.assert_allclose(caption.attention_scores.sum(axis=1), 1, atol=1e-5)


def test_log_prob_and_attention_are_those_of_the_whole_caption_read_at_once(tiny_captioner, features):
    vocabulary, checked = tiny_captioner.vocabulary, 0
    for pooled, regions, captions in zip(*features, tiny_captioner.caption_features(*features), strict=True):
        for caption in captions:
            ids = [vocabulary.start_id, *vocabulary.encode(caption.text), vocabulary.end_id]
            inputs = {"pooled": pooled[None], "regions": regions[None], "input_ids": np.array([ids[:-1]], np.int32)}
            logits, attention = tiny_captioner.decoder.call_with_attention(inputs)
            log_probs = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0, np.arange(len(ids) - 1), ids[1:]]
            np.testing.assert_allclose(caption.word_log_probs, log_probs[:-1], atol=1e-4)
            np.testing.assert_allclose(caption.attention_scores, attention[0, :-1], atol=1e-4)
            # A caption cut at six words never reached its end marker.
            ended = abs(caption.log_prob - log_probs.sum()) < 1e-3
            assert ended or caption.log_prob == pytest.approx(log_probs[:-1].sum(), abs=1e-3)
            assert ended or len(caption.words) == 6
            checked += ended
    assert checked >= 3


def test_markers_and_unknown_words_are_never_written(build_captioner, features):
    captioner = build_captioner(end_bias=0.0)
    bias = np.zeros(16, np.float32)
    # Left to itself this decoder would write nothing but pad, unknown and start.
    bias[[0, 1, 2]] = 1000.0
    captioner.decoder.classifier.bias.assign(bias)
    found = captioner.caption_features(*features, searching(3))
    written = {word for captions in found for caption in captions for word in caption.words}
    assert written and written <= set(captioner.vocabulary.words[4:])


def test_a_wider_search_may_be_asked_for_and_short_captions_favoured(tiny_captioner, features):
    assert {len(captions) for captions in tiny_captioner.caption_features(*features)} == {2}
    short, long = (
        np.mean([len(c[0].words) for c in tiny_captioner.caption_features(*features, searching(4, length_penalty=p))])
        for p in (0.0, 3.0)
    )
    assert short <= long


def test_eight_threads_at_once_each_get_their_own_captions(build_captioner, tiny_captioner, drawn_photos):
    # A fresh one, so that the threads also meet while the decoder is being compiled.
    captioner = build_captioner(tiny_captioner.encoder)
    expected = texts(tiny_captioner.caption_photos(drawn_photos))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(captioner.caption_photos, drawn_photos[i : i + 1]) for i in [*range(8), *range(8)]]
        assert [texts(job.result())[0] for job in jobs] == expected[:8] * 2


def test_a_captioner_keeps_nothing_between_calls(tiny_captioner, drawn_photos):
    before = dict(vars(tiny_captioner))
    first = texts(tiny_captioner.caption_photos(drawn_photos[:1]))
    tiny_captioner.caption_photos(drawn_photos[1:3], searching(1))
    assert texts(tiny_captioner.caption_photos(drawn_photos[:1])) == first
    assert vars(tiny_captioner) == before


def test_other_regions_change_what_is_thought_of_the_same_words(tiny_captioner, features):
    pooled, regions = features
    ids = np.array([[2, 5, 6, 7]] * len(pooled), np.int32)
    logits = [
        keras.ops.convert_to_numpy(tiny_captioner.decoder({"pooled": pooled, "regions": r, "input_ids": ids}))
        for r in (regions, regions[::-1])
    ]
    assert np.abs(logits[0] - logits[1]).max(axis=(1, 2)).min() > 1e-3
    own, foreign = (tiny_captioner.caption_features(pooled, r) for r in (regions, regions[::-1]))
    assert [c[0].log_prob for c in own] != pytest.approx([c[0].log_prob for c in foreign], abs=1e-3)


class _Store:
    """As much of a feature cache as captions need."""

    def __init__(self, features):
        self._features = features

    def rows(self, image_ids):
        numbers = [int(i) for i in image_ids]
        return [view[numbers] for view in self._features]


def test_photos_of_a_cache_come_back_in_the_order_asked_for(tiny_captioner, features):
    order = [str(i) for i in (7, 2, 0, 11, 5)]
    found = list(tiny_captioner.caption_store(_Store(features), order, batch_size=2))
    expected = texts(tiny_captioner.caption_features(*features))
    assert [image_id for image_id, _ in found] == order
    assert texts([captions for _, captions in found]) == [expected[int(i)] for i in order]


def test_captions_say_whether_their_attention_has_a_place_in_the_photo(build_captioner, tiny_captioner, features):
    slots = build_captioner(attend_to="slots")
    assert not slots.has_regions
    assert not slots.caption_features(*(view[:1] for view in features))[0][0].has_regions
    assert tiny_captioner.has_regions
    assert tiny_captioner.caption_features(*(view[:1] for view in features))[0][0].has_regions


def test_a_calibrated_captioner_says_how_sure_it_is_and_any_other_says_nothing(build_captioner, features):
    captioner = build_captioner()
    assert {caption.confidence for found in captioner.caption_features(*features) for caption in found} == {""}
    middle = float(np.median([found[0].log_prob_per_word for found in captioner.caption_features(*features)]))
    captioner.calibration = config.Calibration(sure_from=None, fairly_sure_from=middle)
    said = set()
    for caption in (caption for found in captioner.caption_features(*features) for caption in found):
        mean = caption.log_prob / (len(caption.words) + 1)
        assert caption.log_prob_per_word == pytest.approx(mean)
        assert caption.confidence == ("fairly sure" if mean >= middle else "guessing")
        said.add(caption.confidence)
    assert said == {"fairly sure", "guessing"}


def test_photos_of_the_wrong_size_are_refused(tiny_captioner):
    with pytest.raises(ValueError, match=r"tiny takes uint8 photos of shape \(B, 32, 32, 3\). Received: .*33"):
        tiny_captioner.caption_photos(np.zeros((1, 33, 33, 3), np.uint8))


def caption_with(attention, has_regions=True):
    scores = np.array(attention, np.float32)
    return inference.Caption("a dog", ("a", "dog"), -1.0, -1.0, np.zeros(len(scores)), scores, has_regions)


def caption_with_map(attention):
    """One word that looked at a square grid, and not at the photo as a whole."""
    return caption_with([[*np.ravel(attention), 0.0]])


def test_attention_maps_go_row_by_row_from_the_top_left_without_the_whole_photo():
    maps = caption_with([[0.1, 0.2, 0.3, 0.15, 0.25], [0.0, 0.0, 0.0, 1.0, 0.0]]).attention_maps()
    np.testing.assert_allclose(maps, [[[0.1, 0.2], [0.3, 0.15]], [[0, 0], [0, 1]]], atol=1e-6)


@pytest.mark.parametrize(
    "caption",
    [
        caption_with([[0.2, 0.2, 0.2, 0.4]]),
        # Sixteen slots would make a square of four by four, and yet no place in the photo.
        caption_with([[0.05] * 16 + [0.2]], has_regions=False),
    ],
    ids=["three tokens", "sixteen slots"],
)
def test_attention_over_slots_is_not_drawn(caption):
    with pytest.raises(ValueError, match=r"Attention over slots has no place in the photo. Received: \d+ scores"):
        caption.attention_maps()


@pytest.mark.parametrize("size", [(70, 70), (120, 50), (33, 101)])
def test_an_overlay_shows_the_photo_where_attention_lay_and_little_darker_elsewhere(size):
    attention = np.zeros((7, 7))
    attention[1, 5] = 0.3
    overlay = caption_with_map(attention).overlay(Image.new("RGB", size, (200, 100, 40)), 0)
    assert (overlay.size, overlay.mode) == (size, "RGB")
    pixels = np.asarray(overlay, dtype=float).sum(axis=2)
    # The middle of the cell in the second row from the top and the sixth column from the left.
    assert pixels[3 * size[1] // 14, 11 * size[0] // 14] == pytest.approx(340, abs=12), "the photo itself shows there"
    assert pixels[-1, 0] == pytest.approx(0.55 * 340, abs=4), "and more than half of its light elsewhere"


def test_an_overlay_outlines_where_attention_was_half_its_peak_in_white_within_black():
    attention = np.zeros((7, 7))
    attention[3, 3] = 0.3
    overlay = caption_with_map(attention).overlay(Image.new("RGB", (70, 70), (200, 100, 40)), 0)
    row = [tuple(int(value) for value in pixel) for pixel in np.asarray(overlay)[35]]
    white, black = ([x for x, pixel in enumerate(row) if pixel == colour] for colour in ((255, 255, 255), (0, 0, 0)))
    # Attention falls from the middle of its cell, at 35, to nothing at the middle of the next, ten pixels away.
    assert len(white) == 2 and len(black) == 2 and black[0] < white[0] < 35 < white[1] < black[1]
    assert all(3 <= abs(x - 35) <= 7 for x in white)


def test_an_overlay_without_any_attention_is_dark_and_does_not_fail():
    overlay = caption_with_map(np.zeros((7, 7))).overlay(Image.new("RGB", (14, 14), "white"), 0)
    assert np.asarray(overlay).max() == pytest.approx(0.55 * 255, abs=2)


def test_an_overlay_leaves_the_photo_as_it_was():
    photo = Image.new("RGB", (14, 14), "white")
    caption_with_map(np.eye(7)).overlay(photo, 0)
    assert np.asarray(photo).min() == 255
