"""Words that claim something of a photo, as data (`claim_words.json`): for scores, and for searches with care.

Cleaned words only. No TensorFlow here.
"""

import functools
import json
from pathlib import Path

_FILE = Path(__file__).with_name("claim_words.json")


@functools.cache
def read_claim_words() -> dict:
    """Returns `colors`, `numbers`, `actions` and `things`, word -> what it claims; others, such as `male`, as sets.

    Words of one claim count as one, for example `gray`, `grey` and `silver`. A word alone cannot tell that in "a swing"
    or "a swimming pool" nobody does anything, so these count as actions, too.
    """
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: {word: claim for claim, words in listed.items() for word in words}
        if isinstance(listed, dict)
        else frozenset(listed)
        for name, listed in content.items()
    }
