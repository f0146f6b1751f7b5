"""Batched beam search. It knows no network, only a start and a step, and no TensorFlow.

All photos of a batch are searched together: `B` photos with `K` beams are `N = B * K` rows, those of one photo next to
each other. Each step scores every continuation of every row. Of the `K` best per photo, those that end with the end
marker are finished; the best others live on. A photo is done when `K` hypotheses are finished or the length is
reached; unfinished hypotheses rank behind finished ones and fill up where there are too few. With one beam this is
greedy search.

No phrase is said twice: a word that would repeat one of `no_repeat` words, here or with other words between, is not
taken (Paulus et al. 2017, https://arxiv.org/abs/1705.04304). Without that, what ranks long captions high fills them up
with "in the air in the air".

Hypotheses are ranked by `log_prob / length ** length_penalty` (Wu et al. 2016 discuss such normalisation,
https://arxiv.org/abs/1609.08144), the end marker counted in the length: a bare sum favours short captions.

Legend: `B` photos, `K` beams, `N` rows, `V` vocabulary, `S` what attention ranges over, `T` steps.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from captioner import config


class StepFunction(Protocol):
    """One decoding step for all rows; `captioner.decoder.network.DecoderStep.step` is one."""

    def __call__(
        self, token_ids: np.ndarray, parent_rows: np.ndarray, state: Any
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Maps last words and the rows they continue `(N,)` to log-probs `(N, V)`, attention `(N, S)`, state."""


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


def search_beams(
    step: StepFunction,
    state: Any,
    num_photos: int,
    search: config.DecodingConfig,
    *,
    start_id: int,
    end_id: int,
    forbidden_ids: Sequence[int] = (),
    content_ids: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """Searches the likeliest captions of a batch of photos.

    Args:
        step: Scores the next words.
        state: What the first call of `step` gets, of `num_photos * search.num_beams` rows.
        num_photos: `B`.
        search: How to search; its `num_beams` is `K`.
        start_id: What every caption begins with.
        end_id: What ends a caption.
        forbidden_ids: Words that may never be written, for example pad, start and unknown.
        content_ids: Words that no caption says twice where `search.say_once` is set.

    Returns:
        For each photo its hypotheses, best first, at most `K` and at least one.
    """
    beams = _Beams(num_photos, search.num_beams, search.length_penalty, end_id, start_id)
    parents = np.arange(num_photos * search.num_beams, dtype=np.int32)
    for _ in range(search.max_length):
        log_probs, attention_scores, state = step(beams.last_tokens(), parents, state)
        log_probs = np.array(log_probs, dtype=np.float32)
        log_probs[:, list(forbidden_ids)] = -np.inf
        if beams.length == 0:
            # A caption has at least one word.
            log_probs[:, end_id] = -np.inf
        if search.no_repeat:
            beams.forbid_repeats(log_probs, search.no_repeat)
        if search.say_once:
            beams.forbid_said(log_probs, content_ids)
        parents = beams.extend(log_probs, np.asarray(attention_scores))
        if beams.done():
            break
    return beams.close()


class _Beams:
    """Live and finished hypotheses of all photos."""

    def __init__(self, num_photos: int, num_beams: int, length_penalty: float, end_id: int, start_id: int):
        self.num_photos, self.num_beams = num_photos, num_beams
        self.length_penalty, self.end_id = length_penalty, end_id
        self.length = 0
        rows = num_photos * num_beams
        # Beams start equal, so all but the first are switched off, else they would stay copies of each other.
        self.log_probs = np.where(np.arange(rows) % num_beams == 0, 0.0, -np.inf)  # (N,)
        self.tokens = np.full((rows, 1), start_id, dtype=np.int32)  # (N, 1 + length)
        self.token_log_probs = np.zeros((rows, 0), np.float32)  # (N, length)
        self.attention_scores: list[np.ndarray] = []  # of each step, (N, S), rows in today's order
        self.finished: list[list[Hypothesis]] = [[] for _ in range(num_photos)]

    def last_tokens(self) -> np.ndarray:
        """Returns the last word of each row, int32 `(N,)`."""
        return self.tokens[:, -1]

    def forbid_repeats(self, log_probs: np.ndarray, size: int) -> None:
        """Takes away, in place, the words that would end a phrase of `size` words which its row holds already."""
        words = self.tokens[:, 1:]  # (N, length)
        last = words[:, self.length - size + 1 :]
        for start in range(self.length - size + 1):
            rows = np.flatnonzero((words[:, start : start + size - 1] == last).all(axis=1))
            log_probs[rows, words[rows, start + size - 1]] = -np.inf

    def forbid_said(self, log_probs: np.ndarray, token_ids: Sequence[int]) -> None:
        """Takes away, in place, those of `token_ids` that its row holds already."""
        rows, places = np.nonzero(np.isin(self.tokens[:, 1:], token_ids))
        log_probs[rows, self.tokens[rows, places + 1]] = -np.inf

    def done(self) -> bool:
        """Whether every photo has as many finished hypotheses as beams, or nothing left to extend."""
        live = np.isfinite(self.log_probs.reshape(self.num_photos, -1))
        return all(len(f) >= self.num_beams or not beams.any() for f, beams in zip(self.finished, live, strict=True))

    def extend(self, log_probs: np.ndarray, attention_scores: np.ndarray) -> np.ndarray:
        """Adds one word to all hypotheses and returns the rows that they continue, int32 `(N,)`."""
        vocabulary_size = log_probs.shape[1]
        totals = (self.log_probs[:, None] + log_probs).reshape(self.num_photos, -1)  # (B, K * V)
        # At most K candidates can end, one for each row, so 2K hold K that live on.
        order = _largest(totals, min(2 * self.num_beams, totals.shape[1]))  # (B, 2K)
        best = np.take_along_axis(totals, order, axis=1)
        rows = order // vocabulary_size + np.arange(self.num_photos)[:, None] * self.num_beams
        words = order % vocabulary_size
        ended = words == self.end_id
        ending = (ended & np.isfinite(best))[:, : self.num_beams]
        for photo, rank in np.argwhere(ending):
            if len(self.finished[photo]) < self.num_beams:
                row = rows[photo, rank]
                end = (log_probs[row, self.end_id], attention_scores[row])
                self.finished[photo].append(self._hypothesis(row, end))
        best = np.where(ended, -np.inf, best)
        kept = _largest(best, self.num_beams)  # (B, K)
        parents = np.take_along_axis(rows, kept, axis=1).ravel().astype(np.int32)
        words = np.take_along_axis(words, kept, axis=1).ravel().astype(np.int32)
        self.log_probs = np.take_along_axis(best, kept, axis=1).ravel()
        self.tokens = np.column_stack([self.tokens[parents], words])
        self.token_log_probs = np.column_stack([self.token_log_probs[parents], log_probs[parents, words]])
        self.attention_scores = [scores[parents] for scores in [*self.attention_scores, attention_scores]]
        self.length += 1
        return parents

    def close(self) -> list[list[Hypothesis]]:
        """Returns the hypotheses of each photo: the finished ones by score, then live ones to fill up."""
        ranked = []
        for photo, finished in enumerate(self.finished):
            rows = range(photo * self.num_beams, (photo + 1) * self.num_beams)
            live = [self._hypothesis(row) for row in rows if np.isfinite(self.log_probs[row])]
            both = [sorted(hypotheses, key=lambda h: h.score, reverse=True) for hypotheses in (finished, live)]
            ranked.append((both[0] + both[1])[: self.num_beams])
        return ranked

    def _hypothesis(self, row: int, end: tuple[float, np.ndarray] | None = None) -> Hypothesis:
        """Makes a hypothesis of a row, finished by the end marker's log-probability and attention if given."""
        token_log_probs, attended = self.token_log_probs[row], [scores[row] for scores in self.attention_scores]
        log_prob = float(self.log_probs[row])
        if end:
            token_log_probs = np.append(token_log_probs, np.float32(end[0]))
            attended = [*attended, end[1]]
            log_prob += float(end[0])
        return Hypothesis(
            token_ids=tuple(int(token_id) for token_id in self.tokens[row, 1:]),
            log_prob=log_prob,
            score=log_prob / len(token_log_probs) ** self.length_penalty,
            finished=end is not None,
            token_log_probs=token_log_probs,
            attention_scores=np.array(attended, dtype=np.float32),
        )


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the columns of the `count` largest values of each row, largest first, `(B, count)`."""
    if count < values.shape[1]:
        columns = np.argpartition(values, -count, axis=1)[:, -count:]
    else:
        columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
