"""The files of a saved captioner that hold weights, and a captioner without TensorFlow, to teach on any backend."""

from collections.abc import Mapping
from pathlib import Path

from captioner import files
from captioner.artifacts import catalogue, manifest
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.sight import Sight, TeachingCaptioner
from captioner.decoder.weights import load_decoder
from captioner.encoders import compact, kernels, specs, weights

DECODER_FILE, VOCABULARY_FILE = "decoder.keras", "vocabulary.json"
# Kernels of an encoder that does not ship, as they were fine-tuned; the rest comes from where it always comes from.
KERNELS_FILE = "fine_tuned.h5"
DETECTOR_FILE = "word_detector.h5"


def check_version(folder: Path, encoder: Mapping) -> None:
    """Checks that the encoder of a captioner, as its configuration has it, is still one of this project.

    Raises:
        ValueError: If it is of a former version.
    """
    if encoder["regions_layer"] not in specs.find_spec(encoder["name"]).regions_layers:
        raise ValueError(
            f"The captioner at {folder} was made by another version of this project, in which the encoder "
            f"{encoder['name']} was another network. {files.MAKE_CAPTIONER_ANEW}"
        )


def load_teacher(folder: Path) -> TeachingCaptioner:
    """Loads a saved captioner, to teach.

    Raises:
        FileNotFoundError: If there is none, a file of it is missing, or its encoder's weights cannot be had.
        ValueError: If a file is damaged, or its encoder has other weights than it was trained on.
    """
    settings = catalogue.read_config(folder)["encoder"]
    name, own = settings["name"], folder / compact.WEIGHTS_FILE
    manifest.check_manifest(folder, (VOCABULARY_FILE, DECODER_FILE), whole=True)
    check_version(folder, settings)
    whole = weights.load_network(name, weights.find_weights(name, own if own.is_file() else None))
    network = specs.cut_network(name, whole, settings["regions_layer"])
    if (folder / KERNELS_FILE).is_file():
        kernels.load_kernels(network, folder / KERNELS_FILE)
    if (fingerprint := weights.digest_weights(whole)) != settings["fingerprint"]:
        raise ValueError(
            f"The captioner at {folder} was trained with other weights of {name}, so it cannot be used: "
            f"{settings['fingerprint']} is expected. Received: {fingerprint}"
        )
    words = Vocabulary.load(folder / VOCABULARY_FILE).words
    sight = Sight(name, network, load_decoder(folder / DECODER_FILE), fingerprint)
    return TeachingCaptioner(folder.name, catalogue.version_of(folder), words, sight)
