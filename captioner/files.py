"""What is written to disk and read from it, and what is said of a file that cannot be used. No TensorFlow here."""

from pathlib import Path


def damaged(path: Path) -> str:
    """Returns the sentence for a file of a captioner that cannot be used."""
    return f"{path} is damaged. Run model.ipynb again to make it anew."
