"""From a captioner on `mobilenet_v2` to one on `compact`: the same network and decoder, on smaller photos seen once.

Nothing is trained. A network of convolutions takes photos of any size, and attention ranges over as many regions as
there are. On 192x192 pixels in place of 224x224 twice, the encoder takes two fifths of the time.
"""

import dataclasses
from collections.abc import Mapping

from captioner import config, float16
from captioner.data import datasets
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import compact
from captioner.encoders.encoder import Encoder
from captioner.encoders.splits import encode_split
from captioner.inference import Captioner
from captioner.training import recipe, run_files

_SOURCE = "mobilenet_v2"
# What a report says of the training, which stays true.
_OF_TRAINING = (
    *("seed", "settings", "train_photos", "trained_on", "trained_with", "taught_by", "minutes"),
    *("history", "best_epoch", "epochs", "fine_tuning", "refinement"),
)


def name_shrunk(name: str) -> str:
    """Returns what the captioner is called that is made of one of this name."""
    return name.replace(_SOURCE, "compact") if _SOURCE in name else f"compact-{name}"


def shrink_captioner(captioner: Captioner, *, name: str, version: str = "") -> Captioner:
    """Makes a captioner on `compact` of a captioner on `mobilenet_v2`; search and calibration are still to be chosen.

    Args:
        captioner: With its encoder. It is not changed.
        name: What to call the other.
        version: What tells the captioner from others of its name; see `captioner.artifacts.catalogue.version_of`.

    Raises:
        ValueError: If its encoder is another one, or its decoder is bound to the grid of that.
    """
    if captioner.encoder.name != _SOURCE:
        raise ValueError(
            f"Only a captioner on {_SOURCE} can be shrunk. That of {captioner.name} is {captioner.encoder.name}."
        )
    if captioner.decoder.settings.positions:
        raise ValueError(f"{captioner.name} cannot be shrunk: its decoder knows regions by their row and column.")
    learnt_by = {"captioner": captioner.name, "version": version}
    network = compact.copy_weights(captioner.encoder.network)
    # As it will be saved: that changes features by a few thousandths.
    float16.round_kernels(network)
    encoder = Encoder("compact", network, compact.GRID_LAYER, mirrored=config.is_mirrored("compact"), facts=learnt_by)
    known = captioner.decoder
    decoder = CaptionDecoder(
        known.sizes["vocabulary_size"], encoder.pooled_size, encoder.num_regions, encoder.region_size, known.settings
    )
    decoder.set_weights(known.get_weights())
    settings = dataclasses.replace(config.DecodingConfig(), num_beams=captioner.settings.num_beams)
    return Captioner(decoder, captioner.vocabulary, encoder, name=name, settings=settings)


def measure_shrunk(
    captioner: Captioner, dataset: datasets.CaptionDataset, known: Mapping, *, progress: bool = True
) -> recipe.Trained:
    """Chooses the search of a shrunk captioner, calibrates and measures it; see `recipe.measure_captioner`.

    Args:
        captioner: From `shrink_captioner`. It gets its search and a calibration.
        dataset: What the other was trained on, read with `train`, `validation` and perhaps `test`.
        known: What was measured of the other, which says how both were trained.
        progress: Whether to show progress bars.
    """
    encoder = captioner.encoder
    plan = recipe.Plan(config.RecipeConfig(encoder=encoder.name, seed=known.get("seed", 0)), dataset, encoder)
    names = [split for split in dataset.splits if split != "train"]
    splits = {split: encode_split(encoder, dataset, split, progress=progress) for split in names}
    materials = recipe.Materials(plan, splits, None, {"shrunk": encoder.facts})
    report = recipe.measure_captioner(captioner, materials, progress=progress)
    facts = {key: known[key] for key in _OF_TRAINING if key in known}
    made = {"run": run_files.digest(materials.description), "unreadable": materials.unreadable}
    return recipe.Trained(captioner, report | facts | made | {"shrunk_from": encoder.facts})
