"""What may be imported without TensorFlow and the like, which take seconds and gigabytes."""

import ast
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


def test_distillation_needs_keras_alone_so_that_any_backend_will_do():
    # What distillation imports of this package, and what that imports, names TensorFlow nowhere at its top.
    waiting, seen = ["distillation", "drawings"], set()
    while waiting:
        seen.add(name := waiting.pop())
        tree = ast.parse((config.PROJECT_DIR / "captioner" / f"{name}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import):
                assert "tensorflow" not in {alias.name for alias in node.names}, name
            elif isinstance(node, ast.ImportFrom) and node.module == "captioner":
                waiting += {alias.name for alias in node.names} - seen
            elif isinstance(node, ast.ImportFrom):
                package, _, module = node.module.partition(".")
                assert package != "tensorflow", name
                waiting += {module} - seen if package == "captioner" else set()
    assert {"compact", "networks", "photos", "supervision", "views"} <= seen
