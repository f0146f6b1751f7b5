"""How well a number tells right from wrong, and agrees with grades. Numbers only, no model.

References:
    A. Stuart, "The Estimation and Comparison of Strengths of Association in Contingency Tables", Biometrika 40, 1953
    (tau-c). https://doi.org/10.2307/2333101
    J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999 (the curve, with its smoothed targets).
    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927 (the interval).
    https://doi.org/10.1080/01621459.1927.10502953
"""

import dataclasses
import itertools
import math

import numpy as np

# Two-sided 95 percent of the normal distribution.
_Z = 1.96


@dataclasses.dataclass(frozen=True)
class ChanceCurve:
    """The chance to be right as a logistic curve of a number: `1 / (1 + exp(-(level + slope * value)))`."""

    level: float
    slope: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns the chance of each value, `(N,)`."""
        return 1 / (1 + np.exp(-(self.level + self.slope * np.asarray(values, float))))

    def value_at(self, chance: float) -> float:
        """Returns the value that has this chance; the slope must not be 0."""
        return (math.log(chance / (1 - chance)) - self.level) / self.slope


def fit_chance_curve(values: np.ndarray, right: np.ndarray) -> ChanceCurve:
    """Fits the curve by maximum likelihood.

    A slope below zero would be chance or a bad number; it becomes 0, and the curve the share that is right.

    Args:
        values: `(N,)` float, at least one.
        right: `(N,)` bool.
    """
    values, right = np.asarray(values, float), np.asarray(right, bool)
    # Platt's targets: a little short of 0 and 1, so that the fit stays finite where a value tells all.
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    mean, spread = values.mean(), values.std()
    columns = np.stack([np.ones_like(values), (values - mean) / (spread or 1.0)])  # (2, N)
    weights = np.zeros(2)
    for _ in range(50):  # Newton's steps; some ten are enough.
        chances = 1 / (1 + np.exp(-weights @ columns))
        # The ridge is for values that are all equal.
        curvature = columns * (chances * (1 - chances)) @ columns.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, columns @ (targets - chances))
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    if spread == 0 or weights[1] < 0:
        share = float(targets.mean())
        return ChanceCurve(math.log(share / (1 - share)), 0.0)
    return ChanceCurve(float(weights[0] - weights[1] * mean / spread), float(weights[1] / spread))


def measure_auc(values: np.ndarray, right: np.ndarray) -> float | None:
    """Returns how often a right one has the higher value than a wrong one, ties half: 1 is perfect, 0.5 is chance.

    Args:
        values: `(N,)` float.
        right: `(N,)` bool.

    Returns:
        The area under the ROC curve, or `None` where all are right or all are wrong.
    """
    values, right = np.asarray(values, float), np.asarray(right, bool)
    if right.all() or not right.any():
        return None
    high, low = values[right], values[~right]
    return (1 + _count_wins(high, low) / (len(high) * len(low))) / 2


def measure_tau_c(values: np.ndarray, grades: np.ndarray) -> float | None:
    """Returns Kendall's tau-c of values and grades, -1 to 1; it allows for grades that are few and often tie.

    Args:
        values: `(N,)` float.
        grades: `(N,)`, a few different ones.

    Returns:
        The coefficient, or `None` where all values or all grades are equal.
    """
    values, grades = np.asarray(values, float), np.asarray(grades)
    groups = [values[grades == grade] for grade in np.unique(grades)]
    smaller = min(len(groups), len(np.unique(values)))
    if smaller < 2:
        return None
    difference = sum(_count_wins(high, low) for low, high in itertools.combinations(groups, 2))
    return 2 * smaller * difference / (len(values) ** 2 * (smaller - 1))


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Returns Wilson's 95 percent interval of the share of which `hits` of `count` are a sample; of none, 0 to 1.

    Example:
        >>> [round(end, 3) for end in share_interval(8, 10)]
        [0.49, 0.943]
    """
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, _Z**2
    middle = share + z2 / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # Rounding may leave the ends of 0 and of 1 a hair outside.
    return max(0.0, (middle - spread) / (1 + z2 / count)), min(1.0, (middle + spread) / (1 + z2 / count))


def _count_wins(high: np.ndarray, low: np.ndarray) -> int:
    """Returns the number of pairs in which `high` is greater, less those in which `low` is."""
    low = np.sort(low)
    below, not_above = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return int(below.sum() - (len(low) - not_above).sum())
