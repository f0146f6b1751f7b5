"""A rule for searches: claim only what the decoder is sure of.

The likeliest caption names the commonest colour where the colour cannot be told, and a man where it might be a woman:
search amplifies what is common (J. Zhao et al., "Men Also Like Shopping", 2017, https://arxiv.org/abs/1707.09457).
So a colour or a gender has to stand out among its kind, and a number to be likely at all, or else it is not named;
and the share of women among the train captions is evened out (the correction of priors of M. Saerens et al., 2002,
https://doi.org/10.1162/089976602753284446). The words are those of `captioner.data.claim_words`.

Legend: `V` vocabulary, `C` claims.
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

    Chosen on validation with `efficientnet_lite2`, so that together with a word detector they cost less than two points
    of CIDEr-D, and few claims are false.
    """

    # A colour is named if it has this share of the probability of all colours.
    color_share: float = 0.5
    # Likewise male and female.
    gender_share: float = 0.8
    # A number is named if it is this likely; words that name none stand beside it.
    number_probability: float = 0.65
    # Added to the log-probability of words for women and girls. Men or boys stand in 10,011 train captions, women or
    # girls in 6,211, and the likeliest caption exaggerates that. Chosen before there was a word detector, with which
    # men are mistaken somewhat more often than women.
    female_bonus: float = 1.0

    def __post_init__(self):
        config.check_share(self, "color_share", "gender_share", "number_probability")


class CarefulClaims:
    """Takes away the claims of which a decoder is not sure.

    Args:
        words: All words of the vocabulary, in its order.
        settings: How sure it has to be.
    """

    def __init__(self, words: Sequence[str], settings: CarefulConfig | None = None):
        self._settings = settings or CarefulConfig()
        lists = read_claim_words()
        genders = {word: gender for gender in ("male", "female") for word in lists[gender]}
        kinds = [_mark_claims(words, claim_of) for claim_of in (lists["colors"], lists["numbers"], genders)]
        self._sizes = [kind.shape[1] for kind in kinds]
        self._claims = np.concatenate(kinds, axis=1)  # (V, C), 1 where a word makes a claim
        self._bonus = np.isin(words, sorted(lists["female"])) * np.float32(self._settings.female_bonus)

    def __call__(self, log_probs: tf.Tensor) -> tf.Tensor:
        """Maps log-probs of the next words, float32 `(..., V)`, to those without doubtful claims (minus infinity)."""
        log_probs = tf.nn.log_softmax(log_probs + self._bonus)
        claimed = tf.tensordot(tf.exp(log_probs), self._claims, 1)  # (..., C)
        colors, numbers, genders = tf.split(claimed, self._sizes, axis=-1)
        settings = self._settings
        doubtful = [
            colors < settings.color_share * tf.reduce_sum(colors, -1, keepdims=True),
            numbers < settings.number_probability,
            genders < settings.gender_share * tf.reduce_sum(genders, -1, keepdims=True),
        ]
        taken = tf.tensordot(tf.cast(tf.concat(doubtful, -1), tf.float32), self._claims.T, 1)  # (..., V)
        return tf.where(taken > 0, -np.inf, log_probs)


def _mark_claims(words: Sequence[str], claim_of: dict[str, str]) -> np.ndarray:
    """Returns float32 `(V, claims)`, 1 where the word makes the claim."""
    claims = sorted(set(claim_of.values()))
    return np.array([[claim_of.get(word) == claim for claim in claims] for word in words], np.float32)
