"""A rule for searches: claim only what the decoder is sure of.

The likeliest caption names the commonest colour where the colour cannot be told, and a man where it might be a woman:
search amplifies what is common (J. Zhao et al., "Men Also Like Shopping", 2017, https://arxiv.org/abs/1707.09457).
So a colour, an action or a gender has to stand out among its kind, and a number to be likely at all, or else it is
hardly ever named: a dog that may as well stand as swim "is in the water". "A group" claims a number, too: it is what a
caption says of two people if "two" alone is held to account. And the share of women among the train
captions is evened out (the correction of priors of M. Saerens et al., 2002,
https://doi.org/10.1162/089976602753284446). The words are those of `captioner.data.claim_words`.

Legend: `V` vocabulary, `N` words that claim something, `C` claims.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from captioner import config
from captioner.data.claim_words import read_claim_words


@dataclasses.dataclass(frozen=True)
class CarefulConfig:
    """How sure a decoder has to be before it claims something, see `captioner.decoder.careful`.

    Chosen on validation with `efficientnet_lite2` and five beams, so that together with a word detector they cost less
    than two points of CIDEr-D, and few claims are false.
    """

    # A colour is named if it has this share of the probability of all colours.
    color_share: float = 0.7
    # Likewise an action.
    action_share: float = 0.8
    # Likewise male and female.
    gender_share: float = 0.9
    # A number or a group is named if it is this likely; words that name none stand beside it.
    number_probability: float = 0.6
    # Added to the log-probability of words for women and girls. Men or boys stand in 10,011 train captions, women or
    # girls in 6,211, and the likeliest caption exaggerates that. With this much, `efficientnet_lite2` calls women male
    # no more often than men female on validation.
    female_bonus: float = 0.8
    # Subtracted from the log-probability of what is in doubt. It is still said where all else is far less likely: a
    # word that is never said leaves sentences that go nowhere.
    penalty: float = 4.0

    def __post_init__(self):
        config.check_share(self, "color_share", "action_share", "gender_share", "number_probability")
        config.check_least(self, penalty=0)


class CarefulClaims:
    """Makes the claims unlikely of which a decoder is not sure.

    Args:
        words: All words of the vocabulary, in its order.
        settings: How sure it has to be.
    """

    def __init__(self, words: Sequence[str], settings: CarefulConfig | None = None):
        self._settings = settings or CarefulConfig()
        lists = read_claim_words()
        genders = {word: gender for gender in ("male", "female") for word in lists[gender]}
        numbers = lists["numbers"] | dict.fromkeys(lists["groups"], "group")
        kinds = lists["colors"], lists["actions"], genders, numbers
        marked = [_mark_claims(words, claim_of) for claim_of in kinds]
        self._sizes = [kind.shape[1] for kind in marked]
        claims = np.concatenate(marked, axis=1)  # (V, C), 1 where a word makes a claim
        self._word_ids = np.flatnonzero(claims.any(axis=1))
        self._claims = claims[self._word_ids]  # (N, C)
        # The place of a word that claims nothing is behind all others.
        self._places = np.full(len(words), len(self._word_ids), np.int32)
        self._places[self._word_ids] = np.arange(len(self._word_ids))
        self._bonus = np.isin(words, sorted(lists["female"])) * np.float32(self._settings.female_bonus)

    def __call__(self, log_probs: tf.Tensor) -> tf.Tensor:
        """Maps log-probs of the next words, float32 `(..., V)`, to those with `penalty` on doubtful claims."""
        log_probs = tf.nn.log_softmax(log_probs + self._bonus)
        probabilities = tf.exp(tf.gather(log_probs, self._word_ids, axis=-1))  # (..., N)
        *kinds, numbers = tf.split(tf.tensordot(probabilities, self._claims, 1), self._sizes, axis=-1)
        settings = self._settings
        shares = settings.color_share, settings.action_share, settings.gender_share
        doubtful = [
            kind < share * tf.reduce_sum(kind, -1, keepdims=True) for kind, share in zip(kinds, shares, strict=True)
        ]
        doubtful.append(numbers < settings.number_probability)
        penalties = settings.penalty * tf.cast(tf.concat(doubtful, -1), tf.float32)  # (..., C)
        of_words = tf.tensordot(penalties, self._claims.T, 1)  # (..., N)
        # What claims nothing stays.
        of_words = tf.concat([of_words, tf.zeros_like(log_probs[..., :1])], axis=-1)
        return log_probs - tf.gather(of_words, self._places, axis=-1)


def _mark_claims(words: Sequence[str], claim_of: dict[str, str]) -> np.ndarray:
    """Returns float32 `(V, claims)`, 1 where the word makes the claim."""
    claims = sorted(set(claim_of.values()))
    return np.array([[claim_of.get(word) == claim for claim in claims] for word in words], np.float32)
