"""From a captioner on `mobilenet_v2` to one on `compact`: the same network and decoder, on smaller photos seen once.

Nothing is trained. Convolutions take photos of any size, and attention any number of regions. One pass over 192x192
pixels in place of two over 224x224 is two fifths of the encoder's arithmetic.
"""

from collections.abc import Mapping

from captioner import config, float16
from captioner.data import datasets
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import compact
from captioner.encoders.encoder import Encoder
from captioner.inference import Captioner
from captioner.training import recipe, run_files

_SOURCE = "mobilenet_v2"
# What a report says of the training, which stays true.
_OF_TRAINING = (
    *("seed", "settings", "train_photos", "trained_on", "trained_with", "taught_by", "minutes"),
    *("history", "best_epoch", "epochs", "fine_tuning", "refinement"),
)


def shrink_captioner(captioner: Captioner, *, version: str = "") -> Captioner:
    """Makes a captioner on `compact`, which has the other's search and is not calibrated yet.

    Args:
        captioner: On `mobilenet_v2`, with its encoder. It is not changed.
        version: What tells it from others of its name; see `captioner.artifacts.catalogue.version_of`.

    Returns:
        The captioner, with the other's word detector, called by the other's name with `compact` for `mobilenet_v2`.

    Raises:
        ValueError: If its encoder is another one, or its decoder is bound to the grid of that.
    """
    if captioner.encoder.name != _SOURCE:
        raise ValueError(
            f"Only captioners on {_SOURCE} can be shrunk. Received: {captioner.name}, on {captioner.encoder.name}"
        )
    if captioner.decoder.settings.positions:
        raise ValueError(f"{captioner.name} cannot be shrunk: its decoder knows regions by their row and column.")
    origin = {"captioner": captioner.name, "version": version}
    network = compact.copy_weights(captioner.encoder.network)
    # As it will be saved: that changes features by a few thousandths.
    float16.round_kernels(network)
    encoder = Encoder("compact", network, compact.GRID_LAYER, mirrored=config.is_mirrored("compact"), facts=origin)
    known = captioner.decoder
    decoder = CaptionDecoder(
        known.sizes["vocabulary_size"], encoder.pooled_size, encoder.num_regions, encoder.region_size, known.settings
    )
    decoder.set_weights(known.get_weights())
    name = captioner.name.replace(_SOURCE, "compact") if _SOURCE in captioner.name else f"compact-{captioner.name}"
    return Captioner(
        decoder,
        captioner.vocabulary,
        encoder,
        name=name,
        settings=captioner.settings,
        detector=captioner.detector,
    )


def digest_origin(captioner: Captioner) -> str:
    """Returns what tells the captioner that `shrink_captioner` has made of one from those of others."""
    return run_files.digest({"shrunk": captioner.encoder.facts})


def encode_photos(
    captioner: Captioner, dataset: datasets.CaptionDataset, known: Mapping, *, progress: bool = True
) -> recipe.Materials:
    """Encodes the photos that a shrunk captioner is measured on, or finds what was encoded before.

    Args:
        captioner: From `shrink_captioner`.
        dataset: What the other was trained on, read with `train`, `validation` and perhaps `test`.
        known: The report on the other.
        progress: Whether to show progress bars.
    """
    encoder = captioner.encoder
    plan = recipe.Plan(config.RecipeConfig(encoder=encoder.name, seed=known.get("seed", 0)), dataset, encoder)
    return recipe.encode_measured(plan, {}, progress=progress)


def measure_shrunk(captioner: Captioner, materials: recipe.Materials, known: Mapping) -> recipe.Trained:
    """Chooses the search of a shrunk captioner, calibrates and measures it; see `recipe.measure_captioner`.

    Args:
        captioner: From `shrink_captioner`. It gets its search and a calibration.
        materials: From `encode_photos`.
        known: The report on the other, which says how both were trained.
    """
    report = recipe.measure_captioner(captioner, materials)
    report |= {key: known[key] for key in _OF_TRAINING if key in known}
    report |= {"unreadable": known.get("unreadable", {}) | materials.unreadable}
    made_of = {"run": digest_origin(captioner), "shrunk_from": captioner.encoder.facts}
    return recipe.Trained(captioner, report | made_of)
