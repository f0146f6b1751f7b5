"""Batched beam search in one compiled call. It knows no network, only a step.

All photos of a batch are searched together, `K` beams for each. Each step scores every continuation of every beam. Of
the `K` best per photo, those that end with the end marker are finished; the best others live on. A photo is done when
`K` hypotheses are finished or the length is reached; unfinished hypotheses rank behind finished ones and fill up where
there are too few. With one beam this is greedy search.

The loop over words is TensorFlow's, and Python reads what was found once, at its end. Photos that are done leave the
batch, so that the longest captions do not cost every photo their steps.

No phrase is said twice: a word that would repeat one of `no_repeat` words, here or with other words between, is not
taken (Paulus et al. 2017, https://arxiv.org/abs/1705.04304). Without that, what ranks long captions high fills them up
with "in the air in the air".

Hypotheses are ranked by `log_prob / length ** length_penalty` (Wu et al. 2016 discuss such normalisation,
https://arxiv.org/abs/1609.08144), the end marker counted in the length: a bare sum favours short captions.

Legend: `B` photos, `K` beams, `V` vocabulary, `S` what attention ranges over, `T` steps, `L` greatest length.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from captioner import config

# The photos that are done leave the batch when they are so large a part of it; each time the others are copied.
_DONE_SHARE = 0.25
_NOTHING = np.float64(-np.inf)


class StepFunction(Protocol):
    """One decoding step of all beams that TensorFlow can trace; `captioner.decoder.steps.DecoderStep.step` is one.

    A step of several decoders holds all their states in its own and returns the logarithm of their mean probability.
    """

    def __call__(self, token_ids: tf.Tensor, parents: tf.Tensor, state: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Reads one word in each beam.

        Args:
            token_ids: Last words, int32 `(B, K)`.
            parents: Which beam of the same photo each of them continues, int32 `(B, K)`.
            state: Tensors, nested in any way, with photos as their first axis. Their other axes keep their sizes.

        Returns:
            Log-probs `(B, K, V)` and attention scores `(B, K, S)`, float32, and the new state.
        """


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A caption that was searched.

    Attributes:
        token_ids: Its words, without start and end marker.
        log_prob: Sum of the words' log-probabilities, the end marker's included, natural logarithm.
        score: What it is ranked by, `log_prob / length ** length_penalty`.
        finished: Whether it ended by itself, not at the greatest length.
        token_log_probs: Log-probability of each word and, if finished, of the end marker, `(T,)` float32.
        attention_scores: Where attention lay for each of them, `(T, S)` float32.
    """

    token_ids: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool
    token_log_probs: np.ndarray
    attention_scores: np.ndarray


class BeamSearch:
    """Beam search with one step function, compiled once for all ways to search and sizes of a batch.

    Args:
        step: Scores the next words.
        start_id: What every caption begins with.
        end_id: What ends a caption.
        forbidden_ids: Words that may never be written, for example pad, start and unknown.
        said_once: Words that no caption says twice where `DecodingConfig.say_once` is set, each with the words that it
            takes away once it is said, itself among them.
        rarity: Of each word, `(V,)`: `DecodingConfig.rarity` times it is added to its log-prob.
        weigh: What makes other log-probs of a step's, both `(B, K, V)`, where `DecodingConfig.careful` is set.
    """

    def __init__(
        self,
        step: StepFunction,
        *,
        start_id: int,
        end_id: int,
        forbidden_ids: Sequence[int] = (),
        said_once: Mapping[int, Sequence[int]] | None = None,
        rarity: np.ndarray | float = 0.0,
        weigh: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    ):
        self._step, self._start_id, self._end_id = step, start_id, end_id
        self._forbidden_ids, self._said_once = list(forbidden_ids), dict(said_once or {})
        self._rarity, self._weigh = np.float32(rarity), weigh
        self._compiled = tf.function(self._traced_search, autograph=False, reduce_retracing=True)

    def search(self, state: Any, search: config.DecodingConfig) -> list[list[Hypothesis]]:
        """Searches the likeliest captions of a batch of photos.

        Args:
            state: What the first call of the step gets, at least one photo.
            search: How to search; its `num_beams` is `K`.

        Returns:
            For each photo its hypotheses, best first, at most `K` and at least one.
        """
        # 0 stands for no rule: no phrase is longer than a caption.
        no_repeat = search.no_repeat or search.max_length + 1
        numbers = (search.num_beams, search.max_length, no_repeat, float(search.rarity))
        found = self._compiled(state, *map(tf.constant, (*numbers, search.say_once, search.careful)))
        return _Found(*(tensor.numpy() for tensor in found)).rank(search)

    def _traced_search(self, state, num_beams, max_length, no_repeat, rarity, say_once, careful):
        """Returns what `_Found` holds."""
        num_photos = tf.shape(tf.nest.flatten(state)[0])[0]
        beams = _start_beams(state, num_photos, num_beams, max_length, self._start_id)
        history = [tf.TensorArray(kind, 0, dynamic_size=True) for kind in (tf.int32, tf.float32, tf.float32)]

        def extend(length, beams, history):
            log_probs, attention_scores, state = self._step(beams.last, beams.parents, beams.state)
            state = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), state, beams.state)
            log_probs = tf.cond(rarity > 0, lambda: self._favour_rare(log_probs, rarity), lambda: log_probs)
            log_probs = tf.cond(careful, lambda: self._weigh(log_probs), lambda: log_probs)
            log_probs = self._forbid(log_probs, length, beams, no_repeat, say_once)
            extended, choices, numbers = _extend(beams._replace(state=state), length, log_probs, self._end_id)
            parts = []
            for part in (choices, numbers, attention_scores):
                # Photos that have left the batch keep their places here.
                shape = tf.concat([[num_photos], tf.shape(part)[1:]], 0)
                parts.append(tf.scatter_nd(beams.photos[:, None], part, shape))
            history = [array.write(length, part) for array, part in zip(history, parts, strict=True)]
            return length + 1, _drop_done(extended), history

        _, beams, history = tf.while_loop(
            lambda length, beams, _: (length < max_length) & (tf.size(beams.photos) > 0),
            extend,
            (0, beams, history),
            (tf.TensorShape([]), tf.nest.map_structure(_any_photos, beams), [tf.TensorShape(None)] * len(history)),
        )
        return *(array.stack() for array in history), beams.photos, tf.math.is_finite(beams.totals)

    def _favour_rare(self, log_probs, rarity):
        return tf.nn.log_softmax(log_probs + rarity * self._rarity)

    def _forbid(self, log_probs, length, beams: "_Beams", no_repeat, say_once):
        """Takes away the words that a beam may not write: in every caption, and after those that it holds."""
        size = log_probs.shape[-1]
        never, first = np.zeros((2, size), np.float32)
        never[self._forbidden_ids] = first[[*self._forbidden_ids, self._end_id]] = -np.inf
        # A caption has at least one word.
        log_probs += tf.where(length == 0, first, never)
        is_once = tf.constant(np.isin(np.arange(size), list(self._said_once)))
        again = (beams.repeated >= no_repeat - 1) | (say_once & tf.gather(is_once, beams.tokens))
        places = tf.where(again & (tf.range(tf.shape(again)[2]) < length))  # (words, 3)
        words = tf.gather_nd(beams.tokens, places)[:, None]
        words = tf.cond(say_once, lambda: tf.gather(self._alike(size), words[:, 0]), lambda: words)  # (words, M)
        beam_of_each = tf.repeat(places[:, :2], tf.shape(words)[1], axis=0)
        places = tf.concat([beam_of_each, tf.cast(tf.reshape(words, [-1, 1]), places.dtype)], axis=1)
        return tf.tensor_scatter_nd_update(log_probs, places, tf.fill(tf.shape(places)[:1], -np.inf))

    def _alike(self, size: int) -> np.ndarray:
        """Returns of each word those that it takes away where things are said once, filled up with itself, `(V, M)`."""
        width = max(map(len, self._said_once.values()), default=1)
        rows = [self._said_once.get(word, (word,)) for word in range(size)]
        return np.array([[*row, *[word] * (width - len(row))] for word, row in enumerate(rows)], np.int32)


class _Beams(NamedTuple):
    """The live hypotheses of the photos that are not done.

    Attributes:
        photos: Which photos of the batch these are, int32 `(B,)`.
        num_finished: How many of their hypotheses are finished, int32 `(B,)`.
        totals: Log-probability of each beam so far, float64 `(B, K)`; minus infinity where there is none.
        last: Its last word, int32 `(B, K)`.
        parents: The beam before the last word that it continues, int32 `(B, K)`.
        tokens: Its words without the start, then zeros, int32 `(B, K, L)`.
        repeated: How many words before each of them are also its last words, in their order, int32 `(B, K, L)`.
        state: The step's.
    """

    photos: tf.Tensor
    num_finished: tf.Tensor
    totals: tf.Tensor
    last: tf.Tensor
    parents: tf.Tensor
    tokens: tf.Tensor
    repeated: tf.Tensor
    state: Any


def _start_beams(state, num_photos, num_beams, max_length, start_id: int) -> _Beams:
    shape = tf.stack([num_photos, num_beams])
    nothing = tf.zeros(tf.concat([shape, [max_length]], 0), tf.int32)
    beams = tf.range(num_beams) + tf.zeros(shape, tf.int32)
    return _Beams(
        photos=tf.range(num_photos),
        num_finished=tf.zeros(num_photos, tf.int32),
        # Beams start equal, so all but the first are switched off, else they would stay copies of each other.
        totals=tf.where(beams == 0, np.float64(0), _NOTHING),
        last=tf.fill(shape, start_id),
        parents=beams,
        tokens=nothing,
        repeated=nothing,
        state=state,
    )


def _any_photos(part: tf.Tensor) -> tf.TensorShape:
    return tf.TensorShape([None, *part.shape[1:]])


def _extend(beams: _Beams, length, log_probs, end_id: int) -> tuple[_Beams, tf.Tensor, tf.Tensor]:
    """Adds one word to all hypotheses.

    Returns:
        The beams; the choices, int32 `(B, K, 3)`: of each new beam its parent and its word, of each old one whether it
        ended; the numbers, float32 `(B, K, 2)`: the log-probability of that word, and of the end.
    """
    num_beams = tf.shape(log_probs)[1]
    # At most K candidates can end, one for each beam, so 2K hold K that live on, and no beam has more among them.
    each = tf.minimum(2 * num_beams, log_probs.shape[-1])
    best, best_words = tf.math.top_k(log_probs, each)  # (B, K, each)
    joined = tf.stack([tf.shape(log_probs)[0], num_beams * each])
    best_words = tf.reshape(best_words, joined)
    totals = tf.reshape(beams.totals[:, :, None] + tf.cast(best, tf.float64), joined)
    totals, order = tf.math.top_k(totals, 2 * num_beams)  # (B, 2K)
    parents, words = order // each, tf.gather(best_words, order, batch_dims=1)
    is_end = words == end_id
    ending = tf.cast(is_end & tf.math.is_finite(totals) & (tf.range(2 * num_beams) < num_beams), tf.int32)
    # No photo keeps more finished hypotheses than beams, and the likeliest come first.
    ending *= tf.cast(beams.num_finished[:, None] + tf.cumsum(ending, axis=1) <= num_beams, tf.int32)
    ended = tf.reduce_sum(ending[:, :, None] * tf.one_hot(parents, num_beams, dtype=tf.int32), axis=1)  # (B, K)
    totals, kept = tf.math.top_k(tf.where(is_end, _NOTHING, totals), num_beams)
    parents, words = (tf.gather(part, kept, batch_dims=1) for part in (parents, words))
    word_log_probs = tf.gather(tf.reshape(best, joined), tf.gather(order, kept, batch_dims=1), batch_dims=1)
    tokens, repeated = (tf.gather(part, parents, batch_dims=1) for part in (beams.tokens, beams.repeated))
    repeated = tf.where(tokens == words[:, :, None], repeated + 1, 0)
    extended = _Beams(
        photos=beams.photos,
        num_finished=beams.num_finished + tf.reduce_sum(ending, axis=1),
        totals=totals,
        last=words,
        parents=parents,
        tokens=tf.where(tf.range(tf.shape(tokens)[2]) == length, words[:, :, None], tokens),
        # Moved by one: they are of the words before each word.
        repeated=tf.pad(repeated[:, :, :-1], [[0, 0], [0, 0], [1, 0]]),
        state=beams.state,
    )
    numbers = tf.stack([word_log_probs, log_probs[:, :, end_id]], axis=2)
    return extended, tf.stack([parents, words, ended], axis=2), numbers


def _drop_done(beams: _Beams) -> _Beams:
    """Takes the photos that are done out of the batch if they are many."""
    num_photos, num_beams = tf.unstack(tf.shape(beams.totals))
    going = (beams.num_finished < num_beams) & tf.reduce_any(tf.math.is_finite(beams.totals), axis=1)
    going = tf.where(going)[:, 0]
    return tf.cond(
        tf.size(going) <= tf.cast((1 - _DONE_SHARE) * tf.cast(num_photos, tf.float32), tf.int32),
        lambda: tf.nest.map_structure(lambda part: tf.gather(part, going), beams),
        lambda: beams,
    )


@dataclasses.dataclass(frozen=True)
class _Found:
    """What was chosen in each step, from which hypotheses are read back.

    Attributes:
        choices, numbers: As `_extend` returns them, `(T, B, K, 3)` and `(T, B, K, 2)`.
        attention_scores: Of the old beams, `(T, B, K, S)`.
        photos: Those that were in the batch at the end, `(R,)`.
        are_live: Which of their beams hold a hypothesis, bool `(R, K)`.
    """

    choices: np.ndarray
    numbers: np.ndarray
    attention_scores: np.ndarray
    photos: np.ndarray
    are_live: np.ndarray

    def rank(self, search: config.DecodingConfig) -> list[list[Hypothesis]]:
        """Returns the hypotheses of each photo: the finished ones by score, then live ones to fill up."""
        num_steps, num_photos = self.choices.shape[:2]
        ends: list[list[tuple[int, int, bool]]] = [[] for _ in range(num_photos)]
        for step, photo, beam in np.argwhere(self.choices[..., 2]).tolist():
            ends[photo].append((step, beam, True))
        for row, beam in np.argwhere(self.are_live).tolist():
            ends[self.photos[row]].append((num_steps, beam, False))
        ranked = []
        for photo, found in enumerate(ends):
            hypotheses = [self._trace(photo, *end, search.length_penalty) for end in found[: search.num_beams]]
            ranked.append(sorted(hypotheses, key=lambda h: (h.finished, h.score), reverse=True))
        return ranked

    def _trace(self, photo: int, num_words: int, beam: int, finished: bool, length_penalty: float) -> Hypothesis:
        """Reads a hypothesis back, which held so many words in this beam."""
        beams = [beam]  # Where it stood, the last place first.
        for choices in self.choices[num_words - 1 :: -1, photo] if num_words else ():
            beams.append(int(choices[beams[-1], 0]))
        beams.reverse()
        steps = np.arange(num_words)
        token_log_probs = self.numbers[steps, photo, beams[1:], 0]
        if finished:
            token_log_probs = np.append(token_log_probs, self.numbers[num_words, photo, beam, 1])
        count = len(token_log_probs)
        log_prob = float(token_log_probs.sum(dtype=np.float64))
        return Hypothesis(
            token_ids=tuple(self.choices[steps, photo, beams[1:], 1].tolist()),
            log_prob=log_prob,
            score=log_prob / count**length_penalty,
            finished=finished,
            token_log_probs=token_log_probs,
            attention_scores=self.attention_scores[np.arange(count), photo, beams[:count]],
        )
