"""Rank statistics, the interval of a share and the curve of a chance, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from captioner.scoring import reliability


def test_auc_is_the_share_of_pairs_in_the_right_order_ties_half():
    # Pairs of right (3, 1) and wrong (1, 2): 3 > 1, 3 > 2, 1 = 1, 1 < 2, so 2.5 of 4.
    assert reliability.measure_auc([3, 1, 1, 2], [True, False, True, False]) == pytest.approx(2.5 / 4)
    assert reliability.measure_auc([1, 2, 3, 4], [False, False, True, True]) == 1.0


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_where_all_are_right_or_all_are_wrong_there_is_no_auc(right):
    assert reliability.measure_auc([1.0, 2.0], right) is None


def test_tau_c_counts_pairs_of_different_grades():
    # 2 m (C - D) / (n^2 (m - 1)) with m = 2 grades, n = 4: all four pairs agree, then three agree and one does not.
    assert reliability.measure_tau_c([1, 2, 3, 4], [1, 1, 2, 2]) == pytest.approx(1.0)
    assert reliability.measure_tau_c([1, 3, 2, 4], [1, 1, 2, 2]) == pytest.approx(0.5)
    # m = 3, n = 3: pairs (5, 7) and (5, 9) agree, (9, 7) does not, so 2 * 3 * 1 / (9 * 2).
    assert reliability.measure_tau_c([5, 9, 7], [1, 2, 4]) == pytest.approx(1 / 3)


def test_equal_grades_or_values_have_no_tau():
    assert reliability.measure_tau_c([1.0, 2.0], [3, 3]) is None
    assert reliability.measure_tau_c([1.0, 1.0], [3, 4]) is None


def test_intervals_are_wilsons():
    # (0.8 + 3.8416 / 20 -+ 1.96 sqrt(0.16 / 10 + 3.8416 / 400)) / (1 + 3.8416 / 10)
    assert reliability.share_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert reliability.share_interval(0, 10) == pytest.approx((0.0, 3.8416 / 13.8416))
    assert reliability.share_interval(10, 10) == pytest.approx((10 / 13.8416, 1.0))
    assert reliability.share_interval(0, 0) == (0.0, 1.0)


def test_the_curve_is_the_likeliest_one():
    # At 0 one of four is right, at 1 three of four. The targets are 5/6 and 1/6, their means 1/3 and 2/3, and a curve
    # of two numbers meets two means.
    curve = reliability.fit_chance_curve([0, 0, 0, 0, 1, 1, 1, 1], [True, False, False, False, True, True, True, False])
    assert curve([0, 1]) == pytest.approx([1 / 3, 2 / 3])
    assert (curve.level, curve.slope) == pytest.approx((-math.log(2), 2 * math.log(2)))
    assert curve.value_at(0.5) == pytest.approx(0.5)


def test_a_value_that_tells_all_still_has_a_curve():
    curve = reliability.fit_chance_curve([-2, -1, 1, 2], [False, False, True, True])
    assert 0.5 < curve([1])[0] < 1
    assert curve.value_at(0.5) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [5, 5, 5, 5]], ids=["falling", "all equal"])
def test_a_value_that_tells_nothing_has_a_flat_curve(values):
    curve = reliability.fit_chance_curve(values, [True, True, False, False])
    assert curve.slope == 0
    assert curve(np.array([-9.0, 9.0])) == pytest.approx([0.5, 0.5])
