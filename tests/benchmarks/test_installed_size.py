"""What an installation takes on disk: packages that are made here, and README's figure."""

import json

import pytest

from benchmarks import installed_size


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Returns a function that installs a package with one file of so many bytes."""
    monkeypatch.syspath_prepend(tmp_path)

    def install_(name: str, size: int, *requires: str) -> None:
        (tmp_path / f"{name}.py").write_bytes(b"#" * size)
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {one}" for one in requires]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines]))
        (folder / "RECORD").write_text(f"{name}.py,,\nremoved.py,,\n")

    return install_


def test_what_packages_require_is_counted_once_and_what_only_others_need_is_not(install):
    install("toy_a", 1, "toy_b>=1", "toy_c[more]", 'toy_d; python_version < "3"', 'toy_e; extra == "tests"')
    install("toy_b", 1, "toy_a")  # They need each other.
    install("toy_c", 1, 'toy_f; extra == "more"', 'toy_g; extra == "less"')
    for name in "defg":
        install(f"toy_{name}", 1)
    assert installed_size.list_packages(["toy_a>=1"]) == {"toy_a", "toy_b", "toy_c", "toy_f"}


def test_a_file_takes_whole_blocks(install):
    install("toy_small", 1)
    install("toy_large", 4097)
    assert [installed_size.measure_package(name) for name in ("toy_small", "toy_large")] == [4096, 8192]


def test_readme_says_what_was_measured():
    sizes = json.loads(installed_size.RESULT.read_text(encoding="utf-8"))["megabytes"]
    assert installed_size.describe(sizes) in installed_size.README.read_text(encoding="utf-8")
    assert installed_size.describe({"tensorflow": 1234.0, "keras": 777.0}) == (
        "2.0 GB are installed packages, 1.2 GB of them TensorFlow"
    )
