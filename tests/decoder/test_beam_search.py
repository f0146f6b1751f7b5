"""Beam search on steps whose log-probabilities are typed in."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from captioner import config
from captioner.decoder import beam_search

# Ids of the toy: pad, unknown, start, end, then the words a, b, c.
PAD, UNKNOWN, START, END, A, B, C = range(7)


def table_step(token_ids, parents, tables):
    """A step that knows the last word alone; its state is `tables`, probabilities `(B, 7, 7)`."""
    # Attention is one-hot on the word before, so that a test can follow it.
    return tf.math.log(tf.gather(tables, token_ids, batch_dims=1)), tf.one_hot(token_ids, 7), tables


def search(tables, num_beams, *, forbidden_ids=(), said_once=(), factors=(1,) * 7, weigh=tf.identity, **choices):
    """Searches with `tables[photo][last word]`, the probabilities of the next word."""
    rows = [[table.get(last, np.zeros(7)) for last in range(7)] for table in tables]
    settings = config.DecodingConfig(num_beams, **{"max_length": 4, "length_penalty": 0.0, "no_repeat": 0} | choices)
    return compile_search(forbidden_ids, said_once, factors, weigh).search(tf.constant(rows, tf.float32), settings)


@functools.cache
def compile_search(forbidden_ids, said_once, factors, weigh):
    ids = {"start_id": START, "end_id": END, "forbidden_ids": forbidden_ids, "said_once": dict(said_once)}
    return beam_search.BeamSearch(table_step, **ids, rarity=np.log(factors), weigh=weigh)


def row(**probabilities):
    """Probabilities of the next word, by name."""
    names = {"end": END, "a": A, "b": B, "c": C, "unknown": UNKNOWN, "pad": PAD, "start": START}
    result = np.zeros(7)
    for name, probability in probabilities.items():
        result[names[name]] = probability
    return result


# Greedy takes a (0.6), then c (0.4) and the end: 0.6 * 0.4 * 1 = 0.24. Better is b (0.4) and the end (0.9): 0.36.
GARDEN_PATH = {
    START: row(a=0.6, b=0.4),
    A: row(a=0.3, b=0.3, c=0.4),
    B: row(end=0.9, c=0.1),
    C: row(end=1.0),
}


def test_one_beam_is_greedy():
    [[best]] = search([GARDEN_PATH], num_beams=1)
    assert best.token_ids == (A, C)
    assert best.log_prob == pytest.approx(np.log(0.24))
    assert best.finished


def test_two_beams_leave_the_garden_path():
    [found] = search([GARDEN_PATH], num_beams=2)
    assert found[0].token_ids == (B,)
    assert found[0].log_prob == pytest.approx(np.log(0.36))


def test_token_log_probs_add_up_and_attention_follows_the_words():
    [found] = search([GARDEN_PATH], num_beams=2)
    for hypothesis in found:
        assert hypothesis.token_log_probs.sum() == pytest.approx(hypothesis.log_prob, abs=1e-5)
        before = [START, *hypothesis.token_ids][: len(hypothesis.token_log_probs)]
        np.testing.assert_array_equal(hypothesis.attention_scores.argmax(axis=1), before)


def test_photos_of_a_batch_do_not_disturb_each_other():
    other = {START: row(c=1.0), C: row(a=1.0), A: row(end=1.0), B: row(end=1.0)}
    alone = [search([table], num_beams=2)[0] for table in (GARDEN_PATH, other)]
    together = search([GARDEN_PATH, other], num_beams=2)
    assert [[h.token_ids for h in found] for found in together] == [[h.token_ids for h in found] for found in alone]


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_finds_what_brute_force_finds(length_penalty):
    random = np.random.default_rng(3)
    words, max_length = (A, B, C), 3
    table = {}
    for last in (START, *words):
        table[last] = np.zeros(7)
        table[last][[END, *words]] = random.dirichlet(np.ones(4))
    scores = {}
    for length in range(1, max_length):
        for sentence in itertools.product(words, repeat=length):
            steps = zip((START, *sentence), (*sentence, END), strict=True)
            log_prob = sum(np.log(table[last][word]) for last, word in steps)
            scores[sentence] = log_prob / (length + 1) ** length_penalty
    [found] = search([table], num_beams=40, max_length=max_length, length_penalty=length_penalty)
    finished = [h for h in found if h.finished]
    expected = sorted(scores, key=scores.get, reverse=True)
    assert [h.token_ids for h in finished] == expected
    assert [h.score for h in finished] == pytest.approx([scores[sentence] for sentence in expected], rel=1e-5)


def test_length_penalty_counts_the_end_marker():
    # "a" costs log 0.5 + log 1 over 2 tokens; "b c" costs log 0.5 + log 0.98 + log 1 over 3.
    table = {START: row(a=0.5, b=0.5), A: row(end=1.0), B: row(c=0.98, end=0.02), C: row(end=1.0)}
    [found] = search([table], num_beams=3, length_penalty=0.0)
    assert found[0].token_ids == (A,)
    [found] = search([table], num_beams=3, length_penalty=1.0)
    assert found[0].token_ids == (B, C)
    assert found[0].score == pytest.approx(np.log(0.49) / 3, rel=1e-5)


def test_forbidden_words_are_never_written():
    table = {START: row(unknown=0.9, a=0.1), A: row(pad=0.5, start=0.3, end=0.2)}
    [[best]] = search([table], num_beams=1, forbidden_ids=(PAD, UNKNOWN, START))
    assert best.token_ids == (A,)


def test_a_caption_has_at_least_one_word():
    table = {START: row(end=0.9, a=0.1), A: row(end=1.0)}
    [[best]] = search([table], num_beams=1)
    assert best.token_ids == (A,)


def test_unfinished_hypotheses_are_kept_when_nothing_ends():
    table = {START: row(a=1.0), A: row(a=0.7, b=0.3), B: row(a=1.0)}
    [found] = search([table], num_beams=2, max_length=3)
    assert [h.finished for h in found] == [False, False]
    assert found[0].token_ids == (A, A, A)
    assert found[0].log_prob == pytest.approx(np.log(0.49))


def test_finished_hypotheses_rank_before_likelier_unfinished_ones():
    table = {START: row(a=0.9, b=0.1), A: row(a=1.0), B: row(end=1.0)}
    [found] = search([table], num_beams=2, max_length=3)
    assert found[0].token_ids == (B,)
    assert found[0].finished
    assert not found[1].finished


def test_a_photo_that_is_done_keeps_its_captions_while_others_go_on():
    quick = {START: row(a=0.9, b=0.1), A: row(end=1.0), B: row(end=1.0)}
    slow = {START: row(a=1.0), A: row(a=0.9, end=0.1)}
    together = search([quick, slow], num_beams=2, max_length=6)
    assert [h.token_ids for h in together[0]] == [(A,), (B,)]


def test_more_beams_than_words_still_give_different_captions():
    [found] = search([GARDEN_PATH], num_beams=30)
    sentences = [h.token_ids for h in found]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(
    ("no_repeat", "words"),
    [
        (0, (A, B, A, B, A, B)),
        (1, (A, B)),
        # After a, b, a another b would say "a b" twice.
        (2, (A, B, A)),
        # After a, b, a, b another a would say "a b a" twice.
        (3, (A, B, A, B)),
    ],
)
def test_no_phrase_is_said_twice(no_repeat, words):
    see_saw = {START: row(a=1.0), A: row(b=0.9, end=0.1), B: row(a=0.9, end=0.1)}
    [[best]] = search([see_saw], num_beams=1, max_length=6, no_repeat=no_repeat)
    assert best.token_ids == words
    # The probabilities of the other words stay as they are.
    steps = len(words) - 1
    assert best.log_prob == pytest.approx(steps * np.log(0.9) + (np.log(0.1) if best.finished else 0))


def test_each_beam_is_held_to_its_own_words():
    # From b only c follows, and c after b, c, b would say "b c" twice: each beam has c once, whenever it came to it.
    tables = {START: row(a=0.6, b=0.4), A: row(b=1.0), B: row(c=1.0), C: row(b=0.8, end=0.2)}
    [found] = search([tables], num_beams=2, max_length=5, no_repeat=2)
    assert {hypothesis.token_ids for hypothesis in found} <= {(A, B, C), (B, C), (B, C, B), (A, B, C, B)}
    assert all(hypothesis.token_ids.count(C) == 1 for hypothesis in found)


@pytest.mark.parametrize(("say_once", "words"), [(False, (A, B, A, B)), (True, (A, B, A))])
def test_a_content_word_is_said_once_and_other_words_as_often_as_they_like(say_once, words):
    # Of the two words only b says what is to be seen: once it is said, a is followed by the end.
    see_saw = {START: row(a=1.0), A: row(b=0.9, end=0.1), B: row(a=0.9, end=0.1)}
    [[best]] = search([see_saw], num_beams=1, said_once=((B, (B,)),), say_once=say_once)
    assert best.token_ids == words


@pytest.mark.parametrize(("say_once", "words"), [(False, (A, A, A, A)), (True, (A, B, A, B))])
def test_no_word_follows_itself_where_things_are_said_once(say_once, words):
    stutter = {START: row(a=1.0), A: row(a=0.9, b=0.1), B: row(a=0.4, b=0.6)}
    [[best]] = search([stutter], num_beams=1, max_length=4, no_repeat=0, say_once=say_once)
    assert best.token_ids == words


def test_the_words_that_one_takes_away_are_not_said_after_it():
    # After a, b is likelier; but a takes b with it, which does not take a with it.
    table = {START: row(a=1.0), A: row(b=0.8, c=0.2), B: row(end=1.0), C: row(a=0.9, end=0.1)}
    [[best]] = search([table], num_beams=1, said_once=((A, (A, B)),), say_once=True)
    assert best.token_ids == (A, C)


@pytest.mark.parametrize(
    ("rarity", "words", "probability"), [(0.0, (A,), 0.6), (0.5, (B,), 4 / 7), (1.0, (B,), 8 / 11)]
)
def test_a_search_favours_rare_words(rarity, words, probability):
    # The weight of B is 0.4 times 4 ** rarity, that of A 0.6.
    factors = tuple(4 if word == B else 1 for word in range(7))
    table = {START: row(a=0.6, b=0.4), A: row(end=1.0), B: row(end=1.0)}
    [[best]] = search([table], num_beams=1, factors=factors, rarity=rarity)
    assert best.token_ids == words
    assert best.log_prob == pytest.approx(np.log(probability))


@pytest.mark.parametrize(("careful", "words"), [(False, (A,)), (True, (B,))])
def test_a_careful_search_weighs_the_words(careful, words):
    def weigh(log_probs):
        return tf.where(tf.range(7) == A, log_probs - 1.0, log_probs)

    table = {START: row(a=0.6, b=0.4), A: row(end=1.0), B: row(end=1.0)}
    [[best]] = search([table], num_beams=1, weigh=weigh, careful=careful)
    assert best.token_ids == words
    assert best.log_prob == pytest.approx(np.log(0.4 if careful else 0.6))


# What each word takes away once it is said.
ALIKE = {A: (A,), B: (B, C), C: (C,)}


def search_by_hand(next_log_probs, settings, said_once):
    """Beam search of one photo with lists alone; returns words, log-probability and whether finished, best first.

    `next_log_probs(words)` are those of all words behind some words.
    """
    live, finished = [((), 0.0)], []
    for length in range(settings.max_length):
        candidates = []
        for words, total in live:
            log_probs = np.array(next_log_probs(words))
            log_probs[[PAD, START] + [END] * (length == 0)] = -np.inf
            phrases = {words[i : i + settings.no_repeat] for i in range(length - settings.no_repeat + 1)}
            for word in range(7):
                if settings.no_repeat and (*words, word)[-settings.no_repeat :] in phrases:
                    log_probs[word] = -np.inf
                if settings.say_once and (word in words[-1:] or any(word in said_once.get(said, ()) for said in words)):
                    log_probs[word] = -np.inf
            candidates += [(words, word, total + log_probs[word]) for word in range(7) if log_probs[word] > -np.inf]
        candidates.sort(key=lambda candidate: -candidate[2])
        ended = [(words, total, True) for words, word, total in candidates[: settings.num_beams] if word == END]
        finished = (finished + ended)[: settings.num_beams]
        going = [((*words, word), total) for words, word, total in candidates if word != END]
        live = going[: settings.num_beams]
        if len(finished) == settings.num_beams:
            break
    ranked = [
        sorted(some, key=lambda h: -h[1] / (len(h[0]) + h[2]) ** settings.length_penalty)
        for some in (finished, [(*one, False) for one in live])
    ]
    return (ranked[0] + ranked[1])[: settings.num_beams]


def two_words_step(token_ids, parents, state):
    """A step that knows the last two words: its state is tables `(B, 7, 7, 7)` and each beam's last word `(B, K)`."""
    tables, before = state
    before = tf.gather(before, parents, batch_dims=1)
    places = tf.stack([before, token_ids], axis=2)
    return tf.gather_nd(tables, places, batch_dims=1), tf.one_hot(before, 7), (tables, token_ids)


@pytest.fixture(scope="module")
def two_words_search():
    return beam_search.BeamSearch(
        two_words_step, start_id=START, end_id=END, forbidden_ids=(PAD, START), said_once=ALIKE
    )


@pytest.mark.parametrize("num_beams", [1, 2, 3, 5])
@pytest.mark.parametrize("no_repeat", [0, 1, 2, 3])
@pytest.mark.parametrize("say_once", [False, True])
def test_a_batch_is_searched_as_each_photo_by_hand(two_words_search, num_beams, no_repeat, say_once):
    random = np.random.default_rng(0)
    settings = config.DecodingConfig(num_beams, 7, 0.7, no_repeat, say_once)
    tables = random.normal(size=(9, 7, 7, 7)).astype(np.float32) * 2
    # Some captions end soon and leave the batch, others never end.
    tables[:, :, :, END] += np.linspace(-9, 6, 9, dtype=np.float32)[:, None, None]
    tables -= np.log(np.exp(tables).sum(axis=3, keepdims=True))
    found = two_words_search.search((tf.constant(tables), tf.zeros((9, num_beams), tf.int32)), settings)
    for table, hypotheses in zip(tables, found, strict=True):

        def next_log_probs(words, table=table):
            before, last = (PAD, START, *words)[-2:]
            return table[before, last]

        by_hand = search_by_hand(next_log_probs, settings, ALIKE)
        assert [h.token_ids for h in hypotheses] == [words for words, _, _ in by_hand]
        assert [h.finished for h in hypotheses] == [finished for *_, finished in by_hand]
        assert [h.log_prob for h in hypotheses] == pytest.approx([total for _, total, _ in by_hand], abs=1e-5)


def count_compiled(search):
    return sum(compiled.experimental_get_tracing_count() for compiled in search._compiled.values())


def test_a_search_is_compiled_once_for_a_photo_and_once_for_batches(two_words_search):
    def search(num_photos, settings):
        state = (tf.fill((num_photos, 7, 7, 7), -2.0), tf.zeros((num_photos, 2), tf.int32))
        before = count_compiled(two_words_search)
        two_words_search.search(state, settings)
        return count_compiled(two_words_search) - before

    settings = config.DecodingConfig(2, 5)
    assert [search(1, settings) for _ in range(3)] == [1, 0, 0]
    assert [search(count, settings) for count in (3, 4, 5, 1, 32)] == [1, 0, 0, 0, 0]
    # What is left to ranking, or is a number, is not compiled anew.
    rare = dataclasses.replace(settings, rarity=0.1)
    assert search(1, dataclasses.replace(settings, length_penalty=2.0)) == 0
    assert [search(1, dataclasses.replace(rare, rarity=rarity)) for rarity in (0.1, 0.2)] == [1, 0]


def test_a_photo_alone_is_searched_as_in_a_batch(two_words_search):
    tables = np.random.default_rng(1).normal(size=(6, 7, 7, 7)).astype(np.float32) * 2
    tables[:3, :, :, END] += 6
    tables -= np.log(np.exp(tables).sum(axis=3, keepdims=True))
    settings = config.DecodingConfig(3, 6, 0.7, 2, True)
    together = two_words_search.search((tf.constant(tables), tf.zeros((6, 3), tf.int32)), settings)
    for table, expected in zip(tables, together, strict=True):
        [alone] = two_words_search.search((tf.constant(table[None]), tf.zeros((1, 3), tf.int32)), settings)
        assert [(h.token_ids, h.finished) for h in alone] == [(h.token_ids, h.finished) for h in expected]
        assert [h.log_prob for h in alone] == pytest.approx([h.log_prob for h in expected], abs=1e-6)
