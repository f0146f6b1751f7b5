"""What may be imported without TensorFlow, which takes seconds and gigabytes."""

import subprocess
import sys

import pytest

from captioner import config


@pytest.mark.parametrize(
    "name", ["photos", "captions", "vocabulary", "metrics", "decoding", "calibration", "judgements"]
)
def test_text_photos_scores_and_search_import_no_tensorflow(name):
    # A fresh interpreter, since other tests have TensorFlow loaded.
    code = f"import sys, captioner.{name}; print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
