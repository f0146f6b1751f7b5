"""What entry points do first, seen from outside, in processes of their own."""

import json
import os
import subprocess
import sys

import pytest

from captioner import config, startup

COUNT_FAULTS = """
import resource, sys
from captioner import startup
if sys.argv[1] == "keep" and not startup.keep_freed_memory():
    sys.exit("no glibc")
b"x" * 32_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 32_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(state: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, state], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    if "no glibc" in result.stderr:
        pytest.skip("This C library has no mallopt.")
    return int(result.stdout)


def test_an_array_of_the_size_of_a_freed_one_costs_no_page_faults():
    # 32 MB are 8,192 pages of 4 KiB, or 16 of 2 MiB.
    assert count_faults("default") >= 20 * 10
    assert count_faults("keep") < 20


def test_a_c_library_without_the_option_is_left_alone(monkeypatch):
    monkeypatch.setattr(startup.ctypes, "CDLL", lambda _: object())
    assert startup.keep_freed_memory() is False


def test_a_program_without_standard_error_imports_all_the_same():
    code = "from captioner import startup; startup.import_quietly('json'); startup.import_quietly('csv'); print('done')"
    command = f'"{sys.executable}" -c "{code}" 2>&-'
    result = subprocess.run(command, shell=True, cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "done\n")


def test_an_import_is_quiet_and_its_errors_are_not(tmp_path):
    (tmp_path / "loud.py").write_text("import os, sys; os.write(2, b'noise'); print('noise', file=sys.stderr)")
    (tmp_path / "broken.py").write_text("import os; os.write(2, b'noise'); 1 / 0")
    code = (
        "import sys; from captioner import startup; sys.path.insert(0, sys.argv[1])\n"
        "startup.import_quietly('loud'); print('loud' in sys.modules)\n"
        "try: startup.import_quietly('broken')\n"
        "except ZeroDivisionError: print('raised')\n"
        "print('heard', file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("True\nraised\n", "heard\n")


_SHOW = "import keras; print(*(getattr(keras.config, n)() for n in ('backend', 'floatx', 'image_data_format')))"


def start(tmp_path, code, settings=None, **environment):
    """Runs code in a fresh interpreter whose `keras.json` another project left."""
    (tmp_path / "keras.json").write_text(json.dumps({} if settings is None else settings))
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    return subprocess.run(
        [sys.executable, "-c", f"from captioner import startup\n{code}"],
        cwd=config.PROJECT_DIR, env=environment | {"KERAS_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ({"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"}, {}),
        ({}, {"KERAS_BACKEND": "jax", "KERAS_MAX_STEPS_PER_EPOCH": "1"}),
    ],
)
def test_what_other_projects_set_for_keras_does_not_count(tmp_path, settings, environment):
    code = f"startup.import_keras(); {_SHOW}; print(keras.config.max_steps_per_epoch())"
    result = start(tmp_path, code, settings, **environment)
    assert (result.stdout, result.stderr) == ("tensorflow float32 channels_last\nNone\n", "")


def test_a_backend_that_is_not_installed_is_named(tmp_path):
    code = "try: startup.import_keras(any_backend=True)\nexcept ValueError as error: print(error)"
    told = start(tmp_path, code, KERAS_BACKEND="jax").stdout
    assert told.startswith("Keras cannot use the backend jax: install it, or set KERAS_BACKEND=tensorflow.")


@pytest.mark.parametrize("settings", [[], {"epsilon": "x"}, {"floatx": "bfloat16"}])
def test_settings_that_keras_cannot_use_are_named(tmp_path, settings):
    code = "try: startup.import_keras()\nexcept ValueError as error: print(error)"
    told = start(tmp_path, code, settings).stdout
    assert told.startswith(f"Keras does not start, perhaps for a damaged {tmp_path / 'keras.json'}, which it can do wi")
    assert told.count("\n") == 1


def test_a_file_with_the_name_of_a_module_that_keras_needs_is_named(tmp_path):
    (tmp_path / "absl.py").write_text("raise ValueError('substring not found')")
    code = "try: startup.import_keras()\nexcept ValueError as error: print(error)"
    told = start(tmp_path, f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}").stdout
    assert told.startswith(
        f"Keras does not start, since {tmp_path / 'absl.py'} fails. If that is a file of yours with the"
    )
    assert told.endswith("Received: substring not found\n")


def test_a_program_that_set_up_keras_otherwise_is_told_before_the_work(tmp_path):
    code = "import keras\ntry: startup.import_keras()\nexcept ValueError as error: print(error)"
    told = start(tmp_path, code, {"image_data_format": "channels_first"}, KERAS_BACKEND="tensorflow").stdout
    assert told == (
        "Captions need channels_last as image_data_format of Keras. Call "
        "keras.config.set_image_data_format('channels_last') before. Received: 'channels_first'\n"
    )


def test_a_command_imports_keras_without_packages_it_has_no_use_for_and_can_import_them_later(tmp_path):
    code = (
        "import gc, sys; startup.import_keras(with_extras=False)\n"
        "print(*(name in sys.modules for name in ('keras', 'pandas', 'matplotlib', 'IPython')), gc.isenabled())\n"
        "from keras.src.trainers.data_adapters import array_slicing\n"
        "import pandas\n"
        "print(array_slicing.pandas is None, pandas.DataFrame.__name__, gc.get_freeze_count() > 100_000)"
    )
    result = start(tmp_path, code)
    assert result.stdout == "True False False False True\nTrue DataFrame True\n", result.stderr


def test_a_program_that_has_pandas_gets_a_keras_that_knows_it(tmp_path):
    code = (
        "import gc; gc.disable(); import pandas; startup.import_keras(with_extras=False)\n"
        "from keras.src.trainers.data_adapters import array_slicing\n"
        "print(array_slicing.pandas is pandas, gc.isenabled())"
    )
    assert start(tmp_path, code).stdout == "True False\n"
