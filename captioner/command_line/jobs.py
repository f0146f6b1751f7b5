"""What a worker of `--ray` makes of photos: a file of captions, or of features. Nothing here knows Ray.

A job is a few values that go to every worker; `start` loads what they name. Legend: `B` photos of a batch, `P` pooled
size, `R` regions, `D` region depth.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from captioner import output
from captioner.command_line import bulk, captioning, steps
from captioner.command_line.resuming import as_written
from captioner.output import Row

# Photos encoded together, as for a feature cache; each batch is filled up, so that no row depends on the others.
_BATCH_SIZE = 32
_TYPES = {"log_prob": pyarrow.float64(), "alternatives": pyarrow.list_(pyarrow.string())}

# Writes what it makes of photos to a file, and returns those that failed.
Write = Callable[[Iterable[Path | bulk.NamedPhoto], Path], list[Row]]


@dataclasses.dataclass(frozen=True)
class CaptionJob:
    """Captions, in the columns that `caption` writes.

    Attributes:
        captioner: Its folder, the same on every machine.
        version: What tells the captioner from others, see `catalogue.version_of`.
        num_beams, length_penalty, alternatives, format: As for `caption`; the format may be `parquet`, too.
    """

    captioner: Path
    version: str
    num_beams: int | None
    length_penalty: float | None
    alternatives: int
    format: str

    def start(self) -> Write:
        """Loads the captioner.

        Raises:
            ValueError: If there is another captioner in that folder on this machine.
        """
        from captioner.artifacts import catalogue

        if (found := catalogue.version_of(self.captioner)) != self.version:
            raise ValueError(f"{self.captioner} is another one here. Expected: {self.version}. Received: {found}")
        captioner = steps.load_captioner(self.captioner)
        search = captioning.search_of(captioner, self)

        def write(photos, path):
            batches = bulk.caption_paths(captioner, photos, search)
            rows = [captioning.make_row(photo, found) for batch in batches for photo, found in batch]
            if self.format == "parquet":
                _write_parquet(rows, output.JsonLinesLayout(self.alternatives), path)
            else:
                path.write_bytes(output.write_bytes(rows, output.choose_layout(self.format, self.alternatives)))
            return [row for row in rows if row.problem]

        return write


@dataclasses.dataclass(frozen=True)
class ExtractJob:
    """Features: `photo`, `pooled` `(P,)` and `regions` `(R, D)`, float16 as in a feature cache, and `error`.

    Attributes:
        encoder, weights, mirrored: As for `encoder.load_encoder`.
        fingerprint: Of the weights.
    """

    encoder: str
    weights: str
    mirrored: bool
    fingerprint: str
    format: str = "parquet"

    def start(self) -> Write:
        """Loads the encoder.

        Raises:
            ValueError: If it has other weights on this machine.
        """
        steps.start_tensorflow()
        from captioner.encoders.encoder import load_encoder

        encoder = load_encoder(self.encoder, weights=self.weights, mirrored=self.mirrored)
        if encoder.fingerprint != self.fingerprint:
            raise ValueError(
                f"{self.encoder} has other weights here. Expected: {self.fingerprint}. Received: {encoder.fingerprint}"
            )
        schema = self._describe_columns(encoder)

        def write(photos, path):
            failed: list[Row] = []
            with parquet.ParquetWriter(path, schema) as writer:
                for batch in bulk.map_photos(_encoding(encoder), encoder.image_size, photos, _BATCH_SIZE):
                    writer.write_table(_tabulate_features(batch, schema))
                    failed += [captioning.make_row(*result) for result in batch if isinstance(result[1], Exception)]
            return failed

        return write

    def _describe_columns(self, encoder) -> pyarrow.Schema:
        from captioner.data import photos

        shapes = {"pooled": [encoder.pooled_size], "regions": [encoder.num_regions, encoder.region_size]}
        views = {view: pyarrow.fixed_shape_tensor(pyarrow.float16(), shape) for view, shape in shapes.items()}
        made_by = dataclasses.asdict(self) | {"preprocessing_version": photos.PREPROCESSING_VERSION}
        return pyarrow.schema(
            {"photo": pyarrow.string(), **views, "error": pyarrow.string()},
            metadata={key: str(value) for key, value in made_by.items()},
        )


def _encoding(encoder) -> Callable[[np.ndarray], list]:
    """Returns what encodes a batch of pixels, `(B, S, S, 3)` with `S` the photo's side, to pairs of views."""
    from captioner.encoders import features

    def encode(pixels):
        filled = np.zeros((_BATCH_SIZE, *pixels.shape[1:]), np.uint8)
        filled[: len(pixels)] = pixels
        views = (features.to_float16(view[: len(pixels)], encoder) for view in encoder.encode(filled))
        return list(zip(*views, strict=True))

    return encode


def _tabulate_features(batch: Sequence[tuple], schema: pyarrow.Schema) -> pyarrow.Table:
    """Returns a batch as rows; where a photo failed its features are null."""
    is_missing = np.array([isinstance(found, Exception) for _, found in batch])
    columns = [pyarrow.array([as_written(str(photo)) for photo, _ in batch])]
    for number, field in enumerate(list(schema)[1:-1]):
        values = np.zeros((len(batch), *field.type.shape), np.float16)
        for row, (_, found) in enumerate(batch):
            if not is_missing[row]:
                values[row] = found[number]
        storage = pyarrow.FixedSizeListArray.from_arrays(
            values.reshape(-1), type=field.type.storage_type, mask=pyarrow.array(is_missing)
        )
        columns.append(pyarrow.ExtensionArray.from_storage(field.type, storage))
    problems = [as_written(str(found)) if isinstance(found, Exception) else None for _, found in batch]
    return pyarrow.Table.from_arrays([*columns, pyarrow.array(problems, pyarrow.string())], schema=schema)


def _write_parquet(rows: Sequence[Row], layout: output.JsonLinesLayout, path: Path) -> None:
    schema = pyarrow.schema([(column, _TYPES.get(column, pyarrow.string())) for column in layout.columns])
    rows = [row._replace(name=as_written(row.name), problem=as_written(row.problem)) for row in rows]
    records = [layout.make_record(row) for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(records, schema), path)
