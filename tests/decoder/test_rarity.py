"""How rare words are, by hand."""

import numpy as np

from captioner.data.vocabulary import Vocabulary
from captioner.decoder.rarity import measure_rarity


def test_words_are_as_rare_as_their_rank_and_the_end_is_one_among_them():
    found = measure_rarity(Vocabulary.from_captions(["a dog a cat a"], min_count=1))
    # <pad> <unk> <start> <end> a cat dog
    np.testing.assert_allclose(np.exp(found), [1, 2, 3, 30, 5, 6, 7], rtol=1e-6)
    assert found.dtype == np.float32
