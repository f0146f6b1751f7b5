"""What may be imported without TensorFlow and the like, which take seconds and gigabytes."""

import subprocess
import sys

import pytest

from captioner import config


@pytest.mark.parametrize(
    "name",
    [
        *("calibration", "captions", "catalogue", "decoding", "judgements", "metrics"),
        *("overlays", "photos", "presentation", "serving", "vocabulary"),
    ],
)
def test_what_needs_no_network_imports_no_tensorflow(name):
    # A fresh interpreter, since other tests have TensorFlow loaded.
    heavy = {"tensorflow", "keras", "matplotlib", "streamlit"}
    code = f"import sys, captioner.{name}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
