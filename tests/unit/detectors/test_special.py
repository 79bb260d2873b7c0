"""Distribution functions against scipy's."""

import numpy as np
import pytest
from scipy import stats

from detectors import special


def test_the_normal_tail_is_right_from_the_middle_to_the_far_end() -> None:
    z = np.linspace(-8, 30, 2_001)
    np.testing.assert_allclose(special.normal_sf(z), stats.norm.sf(z), rtol=1e-7)
    assert np.isnan(special.normal_sf(np.array([np.nan]))[0])
    assert special.z_of(0.025) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize("dof", [1, 2, 5, 31, 200])
def test_chi_square_is_near_and_never_too_eager(dof: int) -> None:
    k = np.array([float(dof)])
    for tail in (1e-2, 1e-4):
        exact = stats.chi2.isf(tail, dof)
        bound = float(special.chi2_quantile(k, special.z_of(tail))[0])
        assert 0.98 * exact <= bound <= 1.1 * exact
        assert tail * 0.95 <= float(special.chi2_sf(np.array([exact]), k)[0]) <= tail * 1.8


def test_no_degree_of_freedom_means_no_distance_is_a_surprise_and_no_noise() -> None:
    none = np.array([0.0])
    assert special.chi2_sf(np.array([5.0]), none)[0] == 1
    assert special.chi2_quantile(none, 3.0)[0] == 0


@pytest.mark.parametrize("mean", [0.05, 0.5, 2.0, 10.0, 80.0, 5_000.0])
def test_count_bounds_are_crossed_about_as_seldom_as_asked(mean: float) -> None:
    z = special.z_of(1e-4)
    upper = float(special.count_upper(np.array([mean]), z)[0])
    assert stats.poisson.sf(np.floor(upper), mean) <= 1.2e-4
    lower = float(special.count_lower(np.array([mean]), z)[0])
    assert stats.poisson.cdf(np.ceil(lower) - 1, mean) <= 1.6e-4
    at_bound = special.count_z(np.array([upper]), np.array([mean]))[0]
    assert at_bound == pytest.approx(z, rel=1e-6)
