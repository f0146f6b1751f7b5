"""What a report says of the machine that made it."""

import sys
from types import SimpleNamespace

import pytest

from captioner.scoring import machine


def test_outside_a_checkout_the_commit_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.config, "PROJECT_DIR", tmp_path)
    assert machine.describe_machine()["git_commit"] is None


@pytest.mark.parametrize(
    ("gpus", "device"),
    [
        ([], "2 CPU cores"),
        (["NVIDIA H100"], "1 NVIDIA H100, 2 CPU cores"),
        (["NVIDIA H100", "NVIDIA T4", "NVIDIA H100"], "2 NVIDIA H100, 1 NVIDIA T4, 2 CPU cores"),
    ],
)
def test_a_device_is_its_gpus_and_cores(gpus, device, monkeypatch):
    devices = [SimpleNamespace(platform="gpu", device_kind=name) for name in gpus]
    devices.append(SimpleNamespace(platform="cpu", device_kind="cpu"))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine.keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: devices))
    assert machine.name_device() == device


def test_tensorflow_is_asked_for_gpus_as_well(monkeypatch):
    import tensorflow as tf

    names = {"a": {"device_name": "NVIDIA T4"}, "b": {}}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(names) if kind == "GPU" else ["cpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", names.get)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.name_device() == "1 NVIDIA T4, 1 unnamed, 2 CPU cores"
