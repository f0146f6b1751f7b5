"""CIDEr-D of one caption at a time, fast enough to steer training. No TensorFlow here.

The same number that `captioner.metrics` gives, which scores a whole split with the reference implementation. Here the
references are prepared once, and captions are sequences of any tokens, so that the end of a caption can count as one.

References:
    R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr", CVPR 2015. https://arxiv.org/abs/1411.5726
"""

import collections
import math
from collections.abc import Hashable, Mapping, Sequence

_MAX_ORDER = 4
# Of the Gaussian that punishes another length, in tokens.
_SIGMA = 6.0


class CiderReward:
    """Scores captions against the references of photos.

    Args:
        references: Image id -> its references, each a sequence of tokens. How rare an n-gram is comes from these.
    """

    def __init__(self, references: Mapping[str, Sequence[Sequence[Hashable]]]):
        self._frequencies = collections.Counter(
            gram for texts in references.values() for gram in set().union(*map(_count_grams, texts))
        )
        self._log_photos = math.log(len(references))
        self._references = {image_id: [self._weigh(text) for text in texts] for image_id, texts in references.items()}

    def score(self, image_id: str, tokens: Sequence[Hashable]) -> float:
        """Returns CIDEr-D as published, 0 to 10, of a caption of this photo."""
        vectors, norms, length = self._weigh(tokens)
        total = 0.0
        for other_vectors, other_norms, other_length in self._references[image_id]:
            similarity = sum(
                _overlap(vector, other) / (norm * other_norm)
                for vector, other, norm, other_norm in zip(vectors, other_vectors, norms, other_norms, strict=True)
                if norm and other_norm
            )
            total += similarity * math.exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
        return 10 * total / (_MAX_ORDER * len(self._references[image_id]))

    def _weigh(self, tokens: Sequence[Hashable]) -> tuple[list[dict], list[float], int]:
        """Returns for each order the n-grams weighted by tf-idf, the norms of these vectors, and the length."""
        vectors: list[dict] = [{} for _ in range(_MAX_ORDER)]
        for gram, count in _count_grams(tokens).items():
            rarity = self._log_photos - math.log(max(self._frequencies[gram], 1))
            vectors[len(gram) - 1][gram] = count * rarity
        return vectors, [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors], len(tokens)


def _count_grams(tokens: Sequence[Hashable]) -> collections.Counter:
    orders = range(1, _MAX_ORDER + 1)
    return collections.Counter(tuple(tokens[i : i + n]) for n in orders for i in range(len(tokens) - n + 1))


def _overlap(vector: dict, other: dict) -> float:
    """The product of two vectors, where no n-gram counts more often than in the reference."""
    return sum(min(weight, other[gram]) * other[gram] for gram, weight in vector.items() if gram in other)
