"""Drawings of this project, for visitors who have no photo at hand. No Streamlit here, and no TensorFlow."""

import dataclasses
import functools
import io

from captioner.data.drawings import captions, pictures, scenes

# Planned of these; the numbers are chosen by eye.
_PLANNED, _SEED = 60, 7
_NUMBERS = (22, 15, 19)


@dataclasses.dataclass(frozen=True)
class Example:
    """A drawing in the place of an upload.

    Attributes:
        file_id: What tells it from others.
        name: Its name.
        content: A PNG file.
        truth: What was drawn, a sentence.
    """

    file_id: str
    name: str
    content: bytes
    truth: str

    def getvalue(self) -> bytes:
        """Returns its content, as an upload does."""
        return self.content


@functools.cache
def draw_examples() -> tuple[Example, ...]:
    """Returns the drawings, the same for all visitors."""
    planned = scenes.plan_scenes(_PLANNED, _SEED)
    return tuple(_draw_example(number, planned[index]) for number, index in enumerate(_NUMBERS, 1))


def _draw_example(number: int, scene: scenes.Scene) -> Example:
    file = io.BytesIO()
    pictures.draw_scene(scene).save(file, "PNG")
    truth = captions.write_captions(scene)[0].replace(" .", ".")
    return Example(f"drawing {number}", f"drawing-{number}.png", file.getvalue(), truth)
