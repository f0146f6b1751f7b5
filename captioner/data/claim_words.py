"""Words that claim something of a photo, as data (`claim_words.json`): for scores, and for searches with care.

Cleaned words only. No TensorFlow here.
"""

import functools
import json
from pathlib import Path

_FILE = Path(__file__).with_name("claim_words.json")


@functools.cache
def read_claim_words() -> dict:
    """Returns `colors`, `numbers` and `things`, word -> what it claims; `male`, `female` and `common`, sets of words.

    Words of one claim mean the same, for example `gray`, `grey` and `silver`.
    """
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: {word: claim for claim, words in listed.items() for word in words}
        if isinstance(listed, dict)
        else frozenset(listed)
        for name, listed in content.items()
    }
