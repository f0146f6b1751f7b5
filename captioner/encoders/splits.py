"""A split as an encoder sees it: features of the photos that could be read, and what people wrote about them."""

import dataclasses
from collections.abc import Mapping, Sequence

from captioner.data.datasets import CaptionDataset, explain_unreadable
from captioner.encoders.encoder import Encoder
from captioner.encoders.features import FeatureStore, extract_features


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """The photos of a split that could be read, as an encoder sees them, and what people wrote about them.

    Attributes:
        name: `train`, `validation` or `test`.
        references: Image id -> cleaned captions of each of these photos, in the order of the split.
        features: Features of these photos, and perhaps of others.
        unreadable: Image id -> why a photo of the split was left out.
        data: Name of the data set, for reports.
    """

    name: str
    references: Mapping[str, Sequence[str]]
    features: FeatureStore
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data: str = ""

    @property
    def captions(self) -> list[tuple[str, str]]:
        """All pairs of image id and cleaned caption."""
        return [(image_id, text) for image_id, texts in self.references.items() for text in texts]

    def first(self, num_photos: int) -> "EncodedSplit":
        """Returns a copy with only the first photos."""
        kept = list(self.references)[:num_photos]
        return dataclasses.replace(self, references={image_id: self.references[image_id] for image_id in kept})

    def explain_unreadable(self) -> str:
        """Returns a sentence on the photos that were left out, of which it names the first few; else nothing."""
        return explain_unreadable(self.name, len(self.references), self.unreadable)


def encode_split(encoder: Encoder, dataset: CaptionDataset, split: str, *, progress: bool = True) -> EncodedSplit:
    """Encodes the photos of a split, or finds their features where they were encoded before.

    Raises:
        FileNotFoundError: If none of the photos can be read.
        ValueError: As for `captioner.encoders.features.extract_features`.
    """
    features = extract_features(encoder, dataset.photo_paths(split), progress=progress)
    return pair_features(dataset, split, features)


def pair_features(dataset: CaptionDataset, split: str, features: FeatureStore) -> EncodedSplit:
    """Joins a split with the features of its photos; those that could not be read are left out."""
    references = {i: texts for i, texts in dataset.references_of(split).items() if i not in features.failed}
    return EncodedSplit(split, references, features, dict(features.failed), dataset.name)
