"""Intervals, thin over scipy and statsmodels. All refuse NaN: a missing value is named, never averaged away."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from superpos.settings import below_one

__all__ = [
    "by_unit",
    "correlate",
    "correlation_interval",
    "geometric_interval",
    "mean_interval",
    "median_interval",
    "meta_slope",
    "pearson",
    "pool",
    "rank_correlation",
    "share_interval",
    "slope",
    "summarize",
    "trend",
]

RESAMPLES = 10_000
FAR_APART = 1e20  # the largest variance over the smallest, beyond which a regression has no digits left

Interval = tuple[float, float, float]


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} of {values.size} values that are NaN or infinite; drop them by name first"
        )
    return values


def _pairs(x: ArrayLike, y: ArrayLike, least: int = 3, varying: str = "xy") -> tuple[np.ndarray, np.ndarray]:
    """Two series as arrays. ValueError for NaN, for fewer than `least` pairs, and for one of `varying` that is constant."""
    x, y = _finite(x, "x"), _finite(y, "y")
    if x.size != y.size or x.size < least:
        raise ValueError(f"expected at least {least} pairs, got {x.size} and {y.size} values")
    for name, values in (("x", x), ("y", y)):
        if name in varying and values.min() == values.max():
            raise ValueError(f"{name} is constant ({values[0]:g})")
    return x, y


def _known(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers that are finite. ValueError names the first that is not: the values were too large or too small to square."""
    for name, value in found.items():
        if not np.isfinite(value):
            raise ValueError(
                f"{name} became {value}: the values are too far apart in size for float64; scale them first"
            )
    return found


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's t interval. → (mean, low, high)

    Raises ValueError for fewer than 2 values, NaN among them, or values whose squares overflow.
    """
    below_one("confidence", confidence)
    values = _finite(values, "values")
    if values.size < 2:
        raise ValueError(f"an interval needs at least 2 values, got {values.size}")
    with np.errstate(over="ignore", invalid="ignore"):
        half = stats.sem(values) * stats.t.ppf((1 + confidence) / 2, values.size - 1)
        mean = float(values.mean())
        _known({"the mean": mean, "its interval": half + abs(mean)})
    return mean, mean - float(half), mean + float(half)


def share_interval(count: int, n: int, confidence: float = 0.95) -> Interval:
    """A share of n independent trials with Wilson's interval (1927). → (share, low, high)

    Raises ValueError for no trials, or a count that is not between 0 and n.
    """
    if not 0 <= count <= n or n < 1:
        raise ValueError(f"expected a count between 0 and n ≥ 1, got {count} of {n}")
    below_one("confidence", confidence)
    low, high = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    return count / n, float(low), float(high)


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Median of independent values with the interval between order statistics that holds it (binomial). → (median, low, high)

    Raises ValueError for fewer than 6 values, of which no two hold the median with 95%, or NaN among them.
    """
    values = np.sort(_finite(values, "values"))
    if values.size < 6:
        raise ValueError(f"an interval of a median needs at least 6 values, got {values.size}")
    below_one("confidence", confidence)
    below = int(stats.binom.ppf((1 - confidence) / 2, values.size, 0.5))
    if below == 0:
        raise ValueError(f"no two of {values.size} values hold the median with {confidence:.0%} confidence")
    return (
        2 * float(np.median(values / 2)),
        float(values[max(below - 1, 0)]),
        float(values[min(values.size - below, values.size - 1)]),
    )


def geometric_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Geometric mean of independent values above 0 with the t interval of their logarithms. → (mean, low, high)

    Raises ValueError for fewer than 2 values, NaN, or a value that is not above 0.
    """
    values = _finite(values, "values")
    if (values <= 0).any():
        raise ValueError(f"values must be above 0, got {values.min():g}")
    with np.errstate(over="ignore"):
        mean, low, high = np.exp(mean_interval(np.log(values), confidence)).tolist()
    _known({"the geometric mean": mean, "its interval": high})
    return mean, low, high


def correlation_interval(
    x: ArrayLike, y: ArrayLike, *, seed: int = 0, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Pearson r of independent pairs with a bootstrap BCa interval (Efron 1987). → (r, low, high)

    The pairs are resampled `resamples` times from `seed`. Raises ValueError for fewer than 4 pairs, NaN, a constant series, or
    one so nearly constant that resamples have no r.
    """
    x, y = (_unit(values) for values in _pairs(x, y, least=4))
    below_one("confidence", confidence)
    r = float(np.clip(_pearson(x, y), -1, 1))
    if abs(r) > 1 - 1e-12:
        return r, r, r  # on a line every resample is on it too
    with warnings.catch_warnings():  # what a degenerate resample comes to is said below
        warnings.simplefilter("ignore")
        low, high = stats.bootstrap(
            (x, y),
            _pearson,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("r has no bootstrap interval: in some resamples a series is constant")
    return r, float(np.clip(low, -1, 1)), float(np.clip(high, -1, 1))


def _unit(values: np.ndarray) -> np.ndarray:
    """Values about their middle, over the largest of them: r does not depend on either, and no square overflows.

    ValueError for values that are alike but for rounding.
    """
    scaled = values / np.abs(values).max()
    middle = scaled - np.median(scaled)
    if not middle.any():
        raise ValueError(f"a series is constant but for rounding ({values[0]:g})")
    return middle / np.abs(middle).max()


def _pearson(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    return stats.pearsonr(x, y, axis=axis).statistic


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Slope of the least-squares line of y on x. ValueError for fewer than 3 points, NaN, a constant x, or one out of range."""
    x, y = _pairs(x, y, varying="x")
    run, rise = np.abs(x).max(), max(np.abs(y).max(), np.finfo(float).tiny)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = stats.linregress(x / run, y / rise).slope * (rise / run)
    return float(_known({"the slope": found})["the slope"])


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's ρ of pairs. ValueError for fewer than 3 pairs, NaN, or a constant series."""
    return float(stats.spearmanr(*_pairs(x, y)).statistic)


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson r of pairs, without an interval: for series, whose points are not independent.

    Raises ValueError for fewer than 3 pairs, NaN, or a constant series.
    """
    x, y = (_unit(values) for values in _pairs(x, y))
    return float(np.clip(_pearson(x, y), -1, 1))


def pool(effects: ArrayLike, variances: ArrayLike) -> dict[str, Any]:
    """Mean of k estimates of known variance, by inverse variances, with and without differences between them.

    mean, low, high: fixed effect, normal interval; mean_re, low_re, high_re: random effects (DerSimonian and Laird 1986, the
    variance between them tau2 at least 0; t interval of Hartung, Knapp, Sidik and Jonkman, never narrower than the plain one's
    scale); q, p: Cochran's test that all are one; i2: share of the spread that is between them, from 0 to 1; n = k.
    ValueError for fewer than 2 estimates, NaN, or a variance that is not positive.
    """
    effects, variances = _effects(effects, variances, 2)
    fixed, random, tau2, q, p = _regressions(np.ones_like(effects), effects, variances)
    df = len(effects) - 1
    low, high = fixed.conf_int()[0]
    wider = max(1.0, random.mse_resid) ** 0.5
    low_re, high_re = random.params[0] + wider * (random.conf_int()[0] - random.params[0])
    values = {"mean": fixed.params[0], "low": low, "high": high}
    values |= {"mean_re": random.params[0], "low_re": low_re, "high_re": high_re, "tau2": tau2, "q": q, "p": p}
    i2 = max(0.0, 1 - df / q) if q else 0.0
    return _known({name: float(value) for name, value in values.items()}) | {"i2": i2, "n": len(effects)}


def meta_slope(x: ArrayLike, effects: ArrayLike, variances: ArrayLike) -> dict[str, Any]:
    """Slope of k estimates of known variance on x, by inverse variances (meta-regression).

    slope, error, low, high, z, p: fixed effects; slope_re, error_re, low_re, high_re: with the variance tau2 that is left
    between the estimates added to each (method of moments, Raudenbush 2009); q, q_p: test of what is left, df = k − 2; n = k.
    Intervals are normal for fixed effects, t of k − 2 with tau2.
    ValueError for fewer than 3 estimates, NaN, a constant x, or a variance that is not positive.
    """
    effects, variances = _effects(effects, variances, 3)
    x, effects = _pairs(x, effects, varying="x")
    fixed, random, tau2, q, p = _regressions(np.stack([np.ones_like(x), x], 1), effects, variances)
    values = {"z": fixed.tvalues[1], "p": fixed.pvalues[1], "tau2": tau2, "q": q, "q_p": p}
    for end, fit in (("", fixed), ("_re", random)):
        low, high = fit.conf_int()[1]
        values |= {f"slope{end}": fit.params[1], f"error{end}": fit.bse[1], f"low{end}": low, f"high{end}": high}
    return _known({name: float(value) for name, value in values.items()}) | {"n": len(x)}


def _regressions(X: np.ndarray, effects: np.ndarray, variances: np.ndarray) -> tuple[Any, Any, float, float, float]:
    """Weighted regressions on X without and with tau2. → fixed, random, tau2, Q of the fixed one, its p"""
    from statsmodels.regression.linear_model import WLS

    with np.errstate(over="ignore"):
        apart = variances.max() / variances.min() > FAR_APART or not np.isfinite(np.square(effects) / variances).all()
    if apart or variances.max() > 1e150 or variances.min() < 1e-150:
        raise ValueError("effects and variances are too far apart in size for float64; scale them first")
    fixed = WLS(effects, X, weights=1 / variances).fit(cov_type="fixed scale", use_t=False)
    leverage = (fixed.model.wexog * fixed.model.pinv_wexog.T).sum(1)
    tau2 = max(0.0, (fixed.ssr - fixed.df_resid) / ((1 - leverage) / variances).sum())
    random = WLS(effects, X, weights=1 / (variances + tau2)).fit(cov_type="fixed scale", use_t=True)
    return fixed, random, tau2, fixed.ssr, stats.chi2.sf(fixed.ssr, fixed.df_resid)


def _effects(effects: ArrayLike, variances: ArrayLike, least: int) -> tuple[np.ndarray, np.ndarray]:
    effects, variances = _finite(effects, "effects"), _finite(variances, "variances")
    if effects.size != variances.size or effects.size < least:
        raise ValueError(
            f"expected at least {least} effects and their variances, got {effects.size} and {variances.size}"
        )
    if (variances <= 0).any():
        raise ValueError(f"a variance must be above 0, got {variances.min():g}")
    return effects, variances


def trend(
    table: pd.DataFrame, x: str, groups: str | list[str], *, effect: str = "slope", variance: str = "variance"
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """How effects of known variance go with column x within each group, and over all groups.

    In each group with at least three values of x the effects are regressed on it by inverse variances (`meta_slope`, fixed
    effects): a table of groups, slope, variance, low, high, q, q_p (of what is left of the line), n (effects). The groups'
    slopes are pooled (`pool`): the dict, or None for fewer than two such groups.
    """
    groups, lines = [groups] if isinstance(groups, str) else list(groups), []
    columns = [*groups, "slope", "low", "high", "q", "q_p", "n", "variance"]
    for key, rows in table.groupby(groups, sort=False):
        if rows[x].nunique() >= 3:
            fit = meta_slope(rows[x], rows[effect], rows[variance])
            lines.append([*key, *(fit[name] for name in columns[len(groups) : -1]), fit["error"] ** 2])
    lines = pd.DataFrame(lines, columns=columns)
    return lines, pool(lines.slope, lines.variance) if len(lines) > 1 else None


def by_unit(
    table: pd.DataFrame, by: list[str], unit: str, name: str, function: Callable[[pd.DataFrame], Any]
) -> pd.DataFrame:
    """What `function` makes of the rows of each unit, summarized over units: by, name, low, high, count.

    unit: the column whose values are independent of each other (a network's seed); function: rows → a number.
    """
    lines = [
        dict(zip([*by, unit], key, strict=True)) | {name: function(rows)}
        for key, rows in table.groupby([*by, unit], sort=False, dropna=False)
    ]
    return summarize(pd.DataFrame(lines), by, name)


def correlate(
    table: pd.DataFrame, by: list[str], x: str, y: str, *, least: int = 10, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Pearson r of columns x and y within each group of `by`: by, r, low, high, count, missing (`correlation_interval`).

    Rows in which either is NaN are left out and counted in `missing`; a group with fewer than `least` rows left, or
    with a constant column or one so nearly constant that there is no interval, gets r = NaN.
    """
    lines = []
    for key, group in table.groupby(by, sort=False, dropna=False):
        pairs = group[[x, y]].dropna()
        r = (float("nan"),) * 3
        if len(pairs) >= least and (pairs.nunique() > 1).all():
            _pairs(pairs[x], pairs[y], least)  # what is infinite is no missing interval
            with contextlib.suppress(ValueError):  # as a constant column: there is no interval
                r = correlation_interval(pairs[x], pairs[y], resamples=resamples)
        lines.append([*key, *r, len(pairs), len(group) - len(pairs)])
    return pd.DataFrame(lines, columns=[*by, "r", "low", "high", "count", "missing"])


def summarize(table: pd.DataFrame, by: list[str], value: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of column `value` and its t interval within each group: by, value, low, high, count.

    A group of one row has no interval (low = high = mean, count = 1). Raises ValueError for NaN, naming the group.
    """
    lines = []
    for key, group in table.groupby(by, sort=False, dropna=False):
        values = _finite(group[value], f"{value} of {key}")
        interval = mean_interval(values, confidence) if values.size > 1 else values.repeat(3).tolist()
        lines.append([*key, *interval, values.size])
    return pd.DataFrame(lines, columns=[*by, value, "low", "high", "count"])
