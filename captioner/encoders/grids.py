"""Grids of regions. Legend: `B` batch, `R` regions, `D` region depth."""

import numpy as np


def turn_back(regions: np.ndarray) -> np.ndarray:
    """Turns the grids `(B, R, D)` of mirror images to lie as the photos do."""
    side = round(regions.shape[1] ** 0.5)
    return regions.reshape(-1, side, side, regions.shape[-1])[:, :, ::-1].reshape(regions.shape)
