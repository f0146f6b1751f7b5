"""Captions beside their photos, where photo tools look for descriptions: `photo.jpg.xmp` and `photo.jpg.txt`.

darktable, digiKam, Immich and others read `photo.jpg.xmp`. The other name in use, `photo.xmp`, is Adobe's and belongs
to the raw file of a photo: Lightroom reads none for a JPEG, and beside a raw file it holds that file's edits.
A photo is never touched, and no sidecar is replaced unasked, since an XMP file may hold hours of edits.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from xml.sax import saxutils

from captioner import files

_XMP = """\
<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Image Caption Generator">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">{text}</rdf:li>
    </rdf:Alt>
   </dc:description>
   <Iptc4xmpCore:AltTextAccessibility>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">{text}</rdf:li>
    </rdf:Alt>
   </Iptc4xmpCore:AltTextAccessibility>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def format_sidecars(sentence: str) -> dict[str, bytes]:
    """Returns what the sidecars of a photo hold: suffix behind the photo's whole name -> content, UTF-8.

    Args:
        sentence: The caption, which stands in XMP as `dc:description` and `Iptc4xmpCore:AltTextAccessibility`.
    """
    contents = {".txt": f"{sentence}\n", ".xmp": _XMP.format(text=saxutils.escape(sentence))}
    return {suffix: content.encode() for suffix, content in contents.items()}


def check_folders(photos: Iterable[Path]) -> None:
    """Checks that sidecars can be written beside photos, before the long work and not after it.

    Raises:
        PermissionError: If a folder is not to be written to.
    """
    for folder in sorted({photo.parent for photo in photos}):
        if not os.access(folder, os.W_OK):
            raise PermissionError(
                f"No sidecars can be written in {folder}. Give yourself the right to write there, or leave out "
                "--sidecar and write the captions to a file with --output."
            )


class SidecarWriter:
    """Writes sidecars and keeps count.

    Args:
        replace: Whether a sidecar with other content may be replaced; it is then kept as `<name>~1` and so on.

    Attributes:
        num_written: How many were written.
        refused: Sidecar -> why it was not written.
    """

    def __init__(self, *, replace: bool = False):
        self._replace = replace
        self.num_written = 0
        self.refused: dict[Path, str] = {}

    def write(self, photo: Path, sentence: str) -> None:
        """Writes the sidecars of a photo, each of which is there whole or not at all."""
        for suffix, content in format_sidecars(sentence).items():
            sidecar = photo.with_name(photo.name + suffix)
            try:
                self._write_file(sidecar, content)
            except OSError as error:
                self.refused[sidecar] = f"It cannot be written ({error.strerror})."

    def _write_file(self, sidecar: Path, content: bytes) -> None:
        if os.path.lexists(sidecar):
            # A run that is repeated, or goes on where one was stopped, finds its own.
            if sidecar.is_file() and sidecar.read_bytes() == content:
                return
            if not self._replace:
                self.refused[sidecar] = "It was there already and stays as it is."
                return
            sidecar.replace(files.free_name(sidecar))
        with files.replace_file(sidecar) as new:
            new.write_bytes(content)
        self.num_written += 1
