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
import functools
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
    """Beam search with one step function, compiled for each set of rules: once for one photo, once for batches.

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
        # If two threads ask at once, one of them compiles in vain.
        self._compiled: dict[tuple[bool, _Rules], Callable] = {}

    def search(self, state: Any, search: config.DecodingConfig) -> list[list[Hypothesis]]:
        """Searches the likeliest captions of a batch of photos.

        Args:
            state: What the first call of the step gets, at least one photo.
            search: How to search; its `num_beams` is `K`.

        Returns:
            For each photo its hypotheses, best first, at most `K` and at least one.
        """
        rules, is_one = _Rules.of(search), len(tf.nest.flatten(state)[0]) == 1
        if (is_one, rules) not in self._compiled:
            # One photo has a function of its own, in which all sizes are known: its arithmetic is so little that
            # finding out sizes again for each word takes a good part of the time.
            traced = functools.partial(self._traced_search, rules, is_one)
            signature = None if is_one else (tf.nest.map_structure(_any_photos, state), tf.TensorSpec([], tf.float32))
            self._compiled[is_one, rules] = tf.function(traced, signature, autograph=False)
        found = self._compiled[is_one, rules](state, tf.constant(search.rarity, tf.float32))
        return _Found(*(tensor.numpy() for tensor in found)).rank(search)

    def _traced_search(self, rules: "_Rules", is_one: bool, state, rarity):
        """Returns what `_Found` holds."""
        num_photos = _size(tf.nest.flatten(state)[0], 0)
        beams = _start_beams(state, num_photos, rules, self._start_id)
        history = [tf.TensorArray(kind, 0, dynamic_size=True) for kind in (tf.int32, tf.float32, tf.float32)]

        def extend(length, beams, history):
            log_probs, attention_scores, state = self._step(beams.last, beams.parents, beams.state)
            state = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), state, beams.state)
            log_probs = tf.nn.log_softmax(log_probs + rarity * self._rarity) if rules.favour_rare else log_probs
            log_probs = self._weigh(log_probs) if rules.careful else log_probs
            log_probs = self._forbid(log_probs, length, beams, rules)
            extended, choices, numbers = _extend(beams._replace(state=state), length, log_probs, self._end_id)
            parts = []
            for part in (choices, numbers, attention_scores):
                # Photos that have left the batch keep their places here.
                shape = [num_photos, *(_size(part, axis) for axis in (1, 2))]
                parts.append(part if is_one else tf.scatter_nd(beams.photos[:, None], part, shape))
            history = [array.write(length, part) for array, part in zip(history, parts, strict=True)]
            return length + 1, extended if is_one else _drop_done(extended), history

        shapes = tf.nest.map_structure(lambda part: part.shape if is_one else _any_photos(part).shape, beams)
        _, beams, history = tf.while_loop(
            lambda length, beams, _: (length < rules.max_length) & tf.reduce_any(_are_going(beams)),
            extend,
            (0, beams, history),
            (tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(history)),
        )
        return *(array.stack() for array in history), beams.photos, tf.math.is_finite(beams.totals)

    def _forbid(self, log_probs, length, beams: "_Beams", rules: "_Rules"):
        """Takes away the words that a beam may not write: in every caption, and after those that it holds."""
        size = log_probs.shape[-1]
        never, first = np.zeros((2, size), np.float32)
        never[self._forbidden_ids] = first[[*self._forbidden_ids, self._end_id]] = -np.inf
        # A caption has at least one word.
        log_probs += tf.where(length == 0, first, never)
        again = beams.repeated >= rules.no_repeat - 1
        if rules.say_once:
            again |= tf.gather(np.isin(np.arange(size), list(self._said_once)), beams.tokens)
            again |= tf.range(rules.max_length) == length - 1  # No word follows itself.
        places = tf.where(again & (tf.range(rules.max_length) < length))  # (words, 3)
        words = tf.gather_nd(beams.tokens, places)
        words = tf.gather(self._alike(size), words) if rules.say_once else words[:, None]  # (words, M)
        beam_of_each = tf.repeat(places[:, :2], tf.shape(words)[1], axis=0)
        places = tf.concat([beam_of_each, tf.cast(tf.reshape(words, [-1, 1]), places.dtype)], axis=1)
        return tf.tensor_scatter_nd_update(log_probs, places, tf.fill(tf.shape(places)[:1], -np.inf))

    def _alike(self, size: int) -> np.ndarray:
        """Returns of each word those that it takes away where things are said once, filled up with itself, `(V, M)`."""
        width = max(map(len, self._said_once.values()), default=1)
        rows = [self._said_once.get(word, (word,)) for word in range(size)]
        return np.array([[*row, *[word] * (width - len(row))] for word, row in enumerate(rows)], np.int32)


class _Rules(NamedTuple):
    """What a search is compiled for; as in `config.DecodingConfig`."""

    num_beams: int
    max_length: int
    no_repeat: int
    say_once: bool
    careful: bool
    favour_rare: bool
    # Then the state of `captioner.decoder.steps.DecoderStep` holds what is detected, too.
    detects_words: bool

    @classmethod
    def of(cls, search: config.DecodingConfig) -> "_Rules":
        # 0 stands for no rule: no phrase is longer than a caption.
        no_repeat = search.no_repeat or search.max_length + 1
        weights = search.rarity > 0, search.detector_weight > 0
        return cls(search.num_beams, search.max_length, no_repeat, search.say_once, search.careful, *weights)


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


def _start_beams(state, num_photos, rules: _Rules, start_id: int) -> _Beams:
    shape = (num_photos, rules.num_beams)
    nothing = tf.zeros((*shape, rules.max_length), tf.int32)
    beams = tf.range(rules.num_beams) + tf.zeros(shape, tf.int32)
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


def _size(tensor: tf.Tensor, axis: int) -> Any:
    """Returns a size as a number if it is known when a function is compiled, else as a tensor."""
    known = tensor.shape[axis]
    return tf.shape(tensor)[axis] if known is None else known


def _any_photos(part: tf.Tensor) -> tf.TensorSpec:
    """Returns what stands for a tensor of any number of photos."""
    return tf.TensorSpec([None, *part.shape[1:]], part.dtype)


def _extend(beams: _Beams, length, log_probs, end_id: int) -> tuple[_Beams, tf.Tensor, tf.Tensor]:
    """Adds one word to all hypotheses.

    Returns:
        The beams; the choices, int32 `(B, K, 3)`: of each new beam its parent and its word, of each old one whether it
        ended; the numbers, float32 `(B, K, 2)`: the log-probability of that word, and of the end.
    """
    num_photos, num_beams = _size(beams.totals, 0), beams.totals.shape[1]
    size = log_probs.shape[-1]
    totals = tf.reshape(beams.totals[:, :, None] + tf.cast(log_probs, tf.float64), (num_photos, num_beams * size))
    # At most K candidates can end, one for each beam, so 2K hold K that live on.
    totals, order = tf.math.top_k(totals, 2 * num_beams)  # (B, 2K)
    parents, words = order // size, order % size
    is_end = words == end_id
    ending = tf.cast(is_end & tf.math.is_finite(totals) & (tf.range(2 * num_beams) < num_beams), tf.int32)
    # No photo keeps more finished hypotheses than beams, and the likeliest come first.
    ending *= tf.cast(beams.num_finished[:, None] + tf.cumsum(ending, axis=1) <= num_beams, tf.int32)
    ended = tf.reduce_sum(ending[:, :, None] * tf.one_hot(parents, num_beams, dtype=tf.int32), axis=1)  # (B, K)
    totals, kept = tf.math.top_k(tf.where(is_end, _NOTHING, totals), num_beams)
    parents, words = (tf.gather(part, kept, batch_dims=1) for part in (parents, words))
    word_log_probs = tf.gather_nd(log_probs, tf.stack([parents, words], axis=2), batch_dims=1)
    tokens, repeated = (tf.gather(part, parents, batch_dims=1) for part in (beams.tokens, beams.repeated))
    repeated = tf.where(tokens == words[:, :, None], repeated + 1, 0)
    extended = _Beams(
        photos=beams.photos,
        num_finished=beams.num_finished + tf.reduce_sum(ending, axis=1),
        totals=totals,
        last=words,
        parents=parents,
        tokens=tf.where(tf.range(tokens.shape[2]) == length, words[:, :, None], tokens),
        # Moved by one: they are of the words before each word.
        repeated=tf.pad(repeated[:, :, :-1], [[0, 0], [0, 0], [1, 0]]),
        state=beams.state,
    )
    numbers = tf.stack([word_log_probs, log_probs[:, :, end_id]], axis=2)
    return extended, tf.stack([parents, words, ended], axis=2), numbers


def _are_going(beams: _Beams) -> tf.Tensor:
    """Says which photos are not done, bool `(B,)`."""
    return (beams.num_finished < beams.totals.shape[1]) & tf.reduce_any(tf.math.is_finite(beams.totals), axis=1)


def _drop_done(beams: _Beams) -> _Beams:
    """Takes the photos that are done out of the batch if they are many."""
    num_photos, going = tf.size(beams.photos), tf.where(_are_going(beams))[:, 0]
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
