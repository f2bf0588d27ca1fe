"""Intervals that cover what they should, and slopes and means that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from superpos import statistics


def test_mean_interval_by_hand():
    """1, 2, 3: mean 2, standard error 1/√3, t(0.975, 2) = 4.30265."""
    mean, low, high = statistics.mean_interval([1, 2, 3])
    assert (mean, high - mean) == (2, pytest.approx(4.302653 / 3**0.5))
    assert mean - low == pytest.approx(high - mean)


def test_correlation_of_a_line_and_of_known_pairs():
    line = np.arange(30.0)
    assert statistics.correlation_interval(line, 2 * line + 1)[0] == pytest.approx(1)
    zigzag = line + np.where(line % 2, 20, -20)  # r by its own formula: cov / (sd · sd)
    by_hand = ((line - 14.5) * (zigzag - zigzag.mean())).mean() / (line.std() * zigzag.std())
    assert statistics.correlation_interval(line, zigzag)[0] == pytest.approx(by_hand)


def test_the_bootstrap_interval_covers_the_truth():
    """r = 0.8, 40 pairs: a 95% interval should hold it in most of 60 draws (fewer than 50: p < 1e-3)."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        x = rng.normal(size=40)
        y = 0.8 * x + 0.6 * rng.normal(size=40)
        _, low, high = statistics.correlation_interval(x, y, seed=seed, resamples=500)
        covered += low <= 0.8 <= high
    assert covered >= 50


def test_correlate_counts_what_is_missing():
    table = pd.DataFrame({"g": ["a"] * 12 + ["b"] * 12, "x": range(24), "y": [*range(11), np.nan, *[1.0] * 12]})
    result = statistics.correlate(table, ["g"], "x", "y", resamples=50).set_index("g")
    assert result.loc["a", ["r", "count", "missing"]].tolist() == [pytest.approx(1), 11, 1]
    assert np.isnan(result.r["b"])


def test_summarize_by_group():
    table = pd.DataFrame({"g": ["a", "a", "b"], "x": [1.0, 3.0, 5.0]})
    summary = statistics.summarize(table, ["g"], "x")
    assert summary.x.tolist() == [2, 5]
    assert summary["count"].tolist() == [2, 1]
    assert summary.low[1] == summary.high[1] == 5
    with pytest.raises(ValueError, match=r"x of \('b',\) holds 1 of 1"):
        statistics.summarize(table.assign(x=[1, 2, np.nan]), ["g"], "x")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.mean_interval([1]), "at least 2 values"),
        (lambda: statistics.mean_interval([1, np.nan]), "1 of 2 values that are NaN"),
        (lambda: statistics.correlation_interval([1, 2, 3], [1, 2, 3]), "at least 4 pairs"),
        (lambda: statistics.correlation_interval([1, 1, 1, 1], [1, 2, 3, 4]), "x is constant"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_slopes_and_ranks_of_known_series():
    assert statistics.slope(np.log([2, 4, 8]), np.log([5, 10, 20])) == pytest.approx(1)
    assert statistics.slope([0, 1, 2], [0, 3, 0]) == pytest.approx(0)
    assert statistics.rank_correlation([1, 2, 3, 4], [9, 7, 5, -1]) == -1
    assert statistics.rank_correlation([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(
        1 - 6 * 2 / (4 * 15)
    )  # Spearman 1904


def test_by_unit_takes_units_not_rows_as_independent():
    """Three networks with slopes 1, 2 and 3: mean 2, and the t interval of three numbers, however many rows."""
    table = pd.DataFrame(
        {"g": "a", "seed": seed, "x": x, "y": seed * x} for seed in (1, 2, 3) for x in range(5) for _ in range(4)
    )
    (line,) = statistics.by_unit(table, ["g"], "seed", "slope", lambda t: statistics.slope(t.x, t.y)).to_dict("records")
    assert (line["g"], line["slope"], line["count"]) == ("a", pytest.approx(2), 3)
    assert line["high"] - 2 == pytest.approx(4.302653 / 3**0.5)


@pytest.mark.parametrize(
    ("function", "x", "y", "message"),
    [
        (statistics.slope, [1, 1, 1], [1, 2, 3], r"x is constant \(1\)"),
        (statistics.slope, [1, 2], [1, 2], "at least 3 pairs, got 2 and 2"),
        (statistics.rank_correlation, [1, 2, 3], [4, 4, 4], r"y is constant \(4\)"),
        (statistics.rank_correlation, [1, 2, 3], [4, np.nan, 4], "y holds 1 of 3 values"),
    ],
)
def test_slopes_and_ranks_refuse_what_has_none(function, x, y, message):
    with pytest.raises(ValueError, match=message):
        function(x, y)


def test_pearson_of_series():
    assert statistics.pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert statistics.pearson([1, 2, 3, 4], [1, -1, -1, 1]) == pytest.approx(0)
    with pytest.raises(ValueError, match="y is constant"):
        statistics.pearson([1, 2, 3], [1, 1, 1])


def test_pooling_by_hand():
    """1 and 3 with variances 1 and 1/3: weights 1 and 3, mean 2.5, error 1/2; Q = 1·1.5² + 3·0.5² = 3."""
    pooled = statistics.pool([1.0, 3.0], [1.0, 1 / 3])
    assert pooled["mean"] == pytest.approx(2.5)
    assert pooled["high"] - pooled["mean"] == pytest.approx(1.959964 / 2)
    assert (pooled["q"], pooled["n"]) == (pytest.approx(3), 2)
    assert pooled["p"] == pytest.approx(0.0832645)  # chi², 1 df
    assert pooled["i2"] == pytest.approx(1 - 1 / 3)
    tau2 = (3 - 1) / (4 - (1 + 9) / 4)  # DerSimonian and Laird
    weights = np.array([1 / (1 + tau2), 1 / (1 / 3 + tau2)])
    assert pooled["mean_re"] == pytest.approx((weights * [1, 3]).sum() / weights.sum())
    assert pooled["tau2"] == pytest.approx(tau2)


def test_pooling_equals_statsmodels_and_holds_where_that_breaks():
    """Where estimates differ less than chance, tau2 is zero, not negative, and the random mean is the fixed one."""
    from statsmodels.stats.meta_analysis import combine_effects

    effects, variances = np.array([0.1, 0.9, 0.4, 1.4, -0.3]), np.array([0.02, 0.03, 0.01, 0.05, 0.02])
    theirs, ours = combine_effects(effects, variances, method_re="dl"), statistics.pool(effects, variances)
    assert ours["mean"] == pytest.approx(theirs.mean_effect_fe)
    assert ours["mean_re"] == pytest.approx(theirs.mean_effect_re)
    assert ours["tau2"] == pytest.approx(theirs.tau2)
    assert ours["i2"] == pytest.approx(theirs.i2)
    assert ours["p"] == pytest.approx(theirs.test_homogeneity().pvalue)
    half = 2.776445 * theirs.sd_eff_w_re_hksj  # t(0.975, 4)
    assert ours["high_re"] - ours["mean_re"] == pytest.approx(half)
    alike = statistics.pool([1.0, 1.01, 0.99, 1.02], [0.01, 0.02, 0.01, 0.02])
    assert (alike["tau2"], alike["i2"]) == (0, 0)
    assert alike["mean_re"] == pytest.approx(alike["mean"])
    assert alike["high_re"] - alike["mean_re"] == pytest.approx(3.182446 / 300**0.5)  # t(0.975, 3), a scale of one


def weighted(x, y, variances):
    """The weighted line by its normal equations. → slope, variance of the slope, squares left"""
    w = 1 / np.asarray(variances)
    mean_x, mean_y = np.average(x, weights=w), np.average(y, weights=w)
    spread = (w * (x - mean_x) ** 2).sum()
    slope = (w * (x - mean_x) * (y - mean_y)).sum() / spread
    return slope, 1 / spread, (w * (y - mean_y - slope * (x - mean_x)) ** 2).sum()


def test_a_meta_regression_by_its_normal_equations():
    rng = np.random.default_rng(0)
    x, variances = np.array([1.0, 2, 3, 4, 1, 2]), rng.uniform(0.1, 1, 6)
    y = 2 - 0.7 * x + rng.normal(0, 2, 6)
    found = statistics.meta_slope(x, y, variances)
    slope, variance, left = weighted(x, y, variances)
    assert found["slope"] == pytest.approx(slope)
    assert found["error"] == pytest.approx(variance**0.5)
    assert found["high"] - slope == pytest.approx(1.959964 * variance**0.5)
    assert found["p"] == pytest.approx(2 * stats.norm.sf(abs(slope) / variance**0.5))
    assert (found["q"], found["q_p"]) == (pytest.approx(left), pytest.approx(stats.chi2.sf(left, 4)))
    X, W = np.stack([np.ones(6), x], 1), np.diag(1 / variances)
    P = W - W @ X @ np.linalg.inv(X.T @ W @ X) @ X.T @ W
    assert found["tau2"] == pytest.approx((left - 4) / np.trace(P))  # Raudenbush 2009
    slope, variance, _ = weighted(x, y, variances + found["tau2"])
    assert (found["slope_re"], found["error_re"]) == (pytest.approx(slope), pytest.approx(variance**0.5))
    assert found["high_re"] - slope == pytest.approx(2.776445 * variance**0.5)  # t(0.975, 4)


def test_differences_between_estimates_widen_a_meta_regression():
    """What is left between the estimates is found, on average, and the interval then covers the slope."""
    rng = np.random.default_rng(1)
    x, taus, covered = np.tile([1.0, 2, 3, 4], 10), [], 0
    for _ in range(200):
        y = 1 + 0.5 * x + rng.normal(0, np.sqrt(0.1 + 0.4), x.size)
        found = statistics.meta_slope(x, y, np.full(x.size, 0.1))
        taus.append(found["tau2"])
        covered += found["low_re"] <= 0.5 <= found["high_re"]
    assert np.mean(taus) == pytest.approx(0.4, abs=0.05)
    assert 180 <= covered <= 199
    exact = statistics.meta_slope([1, 2, 3], [2, 4, 6], [0.1, 0.1, 0.1])
    assert (exact["slope"], exact["slope_re"], exact["tau2"]) == (pytest.approx(2), pytest.approx(2), 0)


def test_a_trend_is_that_of_each_group_and_of_all():
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 4), "x": np.tile([1.0, 2, 3, 4], 3)})
    rows["variance"] = rng.uniform(0.05, 0.5, 12)
    rows["slope"] = rows.group.map({"a": 1.0, "b": 3.0, "c": -2.0}) - 0.7 * rows.x + rng.normal(0, rows.variance**0.5)
    groups, pooled = statistics.trend(rows, "x", "group")
    fits = [weighted(part.x, part.slope, part.variance) for _, part in rows.groupby("group")]
    assert groups.slope.tolist() == pytest.approx([slope for slope, _, _ in fits])
    assert groups.variance.tolist() == pytest.approx([variance for _, variance, _ in fits])
    assert groups.q.tolist() == pytest.approx([left for _, _, left in fits])
    assert pooled == statistics.pool(groups.slope, groups.variance)
    assert (groups.n.tolist(), pooled["n"]) == ([4, 4, 4], 3)
    short, none = statistics.trend(rows[(rows.group == "b") | (rows.x < 3)], "x", ["group"])
    assert (short.group.tolist(), none) == (["b"], None)
    assert short.slope[0] == groups.slope[1]


def test_variances_must_be_positive():
    with pytest.raises(ValueError, match="a variance must be above 0, got 0"):
        statistics.pool([1, 2], [0, 1])
    with pytest.raises(ValueError, match="expected at least 3 effects"):
        statistics.meta_slope([1, 2], [1, 2], [1, 1])


def test_a_geometric_mean_by_hand():
    mean, low, high = statistics.geometric_interval([1, 4])
    assert mean == pytest.approx(2)
    assert high / mean == pytest.approx(mean / low) == pytest.approx(np.exp(12.706205 * np.log(2)), rel=1e-5)
    with pytest.raises(ValueError, match="above 0, got -1"):
        statistics.geometric_interval([1, -1])


def test_a_share_with_wilsons_interval():
    """Wilson's interval of 8 in 10 by its formula."""
    z, n, p = 1.959964, 10, 0.8
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5,
    )
    assert statistics.share_interval(8, 10) == pytest.approx((0.8, middle - half, middle + half), rel=1e-5)
    with pytest.raises(ValueError, match="between 0 and n"):
        statistics.share_interval(3, 2)


def test_the_interval_of_a_median_holds_it():
    """Of 20 ordered values the 6th and the 15th: the binomial table's interval of at least 95%."""
    assert statistics.median_interval(range(1, 21)) == (10.5, 6, 15)
    g = np.random.default_rng(0)
    held = [statistics.median_interval(g.exponential(size=31)) for _ in range(400)]
    assert np.mean([low <= np.log(2) <= high for _, low, high in held]) > 0.93
    with pytest.raises(ValueError, match="at least 6"):
        statistics.median_interval([1, 2, 3])


def test_a_series_that_is_infinite_is_no_missing_interval():
    table = pd.DataFrame({"g": 1, "x": range(12), "y": [*range(11), float("inf")]})
    with pytest.raises(ValueError, match="NaN or infinite"):
        statistics.correlate(table, ["g"], "x", "y")
