"""Intervals, thin over scipy and statsmodels. All refuse NaN: a missing value is named, never averaged away."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.signal import savgol_filter

__all__ = [
    "by_unit",
    "correlate",
    "correlation_interval",
    "crossing",
    "geometric_interval",
    "mean_interval",
    "meta_slope",
    "peak",
    "pearson",
    "pool",
    "rank_correlation",
    "ratio_interval",
    "slope",
    "smooth",
    "steepest",
    "summarize",
    "trend",
    "verdict",
]

RESAMPLES = 10_000


def _finite(values, name):
    values = np.asarray(values, dtype=float)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} of {values.size} values that are NaN or infinite; drop them by name first"
        )
    return values


def mean_interval(values, confidence=0.95):
    """Mean of n independent values with Student's t interval. → (mean, low, high)

    Raises ValueError for fewer than 2 values, or NaN among them.
    """
    values = _finite(values, "values")
    if values.size < 2:
        raise ValueError(f"an interval needs at least 2 values, got {values.size}")
    half = stats.sem(values) * stats.t.ppf((1 + confidence) / 2, values.size - 1)
    mean = float(values.mean())
    return mean, mean - float(half), mean + float(half)


def geometric_interval(values, confidence=0.95):
    """Geometric mean of n independent values above 0 with the t interval of their logarithms. → (mean, low, high)

    Raises ValueError for fewer than 2 values, NaN, or a value that is not above 0.
    """
    values = _finite(values, "values")
    if (values <= 0).any():
        raise ValueError(f"values must be above 0, got {values.min():g}")
    return tuple(float(np.exp(value)) for value in mean_interval(np.log(values), confidence))


def correlation_interval(x, y, *, seed=0, confidence=0.95, resamples=RESAMPLES):
    """Pearson r of n independent pairs with a bootstrap BCa interval (Efron 1987). → (r, low, high)

    The pairs are resampled `resamples` times from `seed`. Raises ValueError for fewer than 4 pairs, NaN, or
    a constant series.
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    if x.size != y.size or x.size < 4:
        raise ValueError(f"expected at least 4 pairs, got {x.size} and {y.size} values")
    for name, values in (("x", x), ("y", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} is constant ({values[0]:g}): r is undefined")
    if abs(_pearson(x, y)) > 1 - 1e-12:
        return (float(_pearson(x, y)),) * 3  # on a line every resample is on it too
    interval = stats.bootstrap(
        (x, y),
        _pearson,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(_pearson(x, y)), float(interval.low), float(interval.high)


def slope(x, y):
    """Slope of the least-squares line of y on x. ValueError for fewer than 3 points, NaN, or a constant x."""
    x, y = _paired(x, y)
    return float(stats.linregress(x, y).slope)


def rank_correlation(x, y):
    """Spearman's ρ of n pairs. ValueError for fewer than 3 pairs, NaN, or a constant series."""
    x, y = _paired(x, y)
    if np.ptp(y) == 0:
        raise ValueError(f"y is constant ({y[0]:g}): ρ is undefined")
    return float(stats.spearmanr(x, y).statistic)


def pearson(x, y):
    """Pearson r of n pairs, without an interval: for series, whose points are not independent.

    Raises ValueError for fewer than 3 pairs, NaN, or a constant series.
    """
    x, y = _paired(x, y)
    if np.ptp(y) == 0:
        raise ValueError(f"y is constant ({y[0]:g}): r is undefined")
    return float(_pearson(x, y))


def smooth(y, width=9, derivative=0):
    """A series y (n,) at equal steps, each point from a parabola fitted to the `width` points around it (Savitzky and
    Golay 1964); derivative 1: its slope there, per step. ValueError for fewer points than `width`, or NaN.
    """
    y = _finite(y, "y")
    if y.size < width:
        raise ValueError(f"{y.size} points are fewer than the {width} of the filter")
    return savgol_filter(y, width, 2, deriv=derivative)


def pool(effects, variances):
    """Mean of k estimates of known variance, by inverse variances, with and without differences between them. → dict

    mean, low, high: fixed effect, normal interval; mean_re, low_re, high_re: random effects (DerSimonian and Laird 1986, the
    variance between them tau2 at least 0; t interval of Hartung, Knapp, Sidik and Jonkman, never narrower than the plain one's
    scale); q, p: Cochran's test that all are one; i2: share of the spread that is between them (0 … 1); n = k.
    ValueError for fewer than 2 estimates, NaN, or a variance that is not positive.
    """
    effects, variances = _effects(effects, variances, 2)
    weights, df = 1 / variances, len(effects) - 1
    mean, error = np.average(effects, weights=weights), weights.sum() ** -0.5
    q = float((weights * (effects - mean) ** 2).sum())
    tau2 = max(0.0, (q - df) / (weights.sum() - (weights**2).sum() / weights.sum()))
    weights_re = 1 / (variances + tau2)
    mean_re = np.average(effects, weights=weights_re)
    scale = max(1.0, (weights_re * (effects - mean_re) ** 2).sum() / df)
    half, half_re = stats.norm.ppf(0.975) * error, stats.t.ppf(0.975, df) * (scale / weights_re.sum()) ** 0.5
    return {
        "mean": float(mean), "low": float(mean - half), "high": float(mean + half),
        "mean_re": float(mean_re), "low_re": float(mean_re - half_re), "high_re": float(mean_re + half_re), "tau2": tau2,
        "q": q, "p": float(stats.chi2.sf(q, df)), "i2": max(0.0, 1 - df / q) if q else 0.0, "n": len(effects),
    }  # fmt: skip


def meta_slope(x, effects, variances):
    """Slope of k estimates of known variance on x, by inverse variances (meta-regression). → dict

    slope, error, low, high, z, p: fixed effects; slope_re, error_re, low_re, high_re: with the variance tau2 that is left
    between the estimates added to each (method of moments, Raudenbush 2009); q, q_p: test of what is left, df = k − 2.
    Intervals are normal for fixed effects, t of k − 2 with tau2.
    ValueError for fewer than 3 estimates, NaN, a constant x, or a variance that is not positive.
    """
    effects, variances = _effects(effects, variances, 3)
    x, effects = _paired(x, effects)
    X = np.stack([np.ones_like(x), x], 1)

    def fitted(weights, quantile):
        covariance = np.linalg.inv(X.T @ (weights[:, None] * X))
        beta = covariance @ X.T @ (weights * effects)
        error = float(np.sqrt(covariance[1, 1]))
        return beta, float(beta[1]), error, float(beta[1] - quantile * error), float(beta[1] + quantile * error)

    weights = 1 / variances
    beta, slope, error, low, high = fitted(weights, stats.norm.ppf(0.975))
    q = float((weights * (effects - X @ beta) ** 2).sum())
    projected = weights.sum() - np.trace(
        np.linalg.inv(X.T @ (weights[:, None] * X)) @ (X.T @ (weights[:, None] ** 2 * X))
    )
    tau2 = max(0.0, (q - (len(x) - 2)) / projected)
    _, slope_re, error_re, low_re, high_re = fitted(1 / (variances + tau2), stats.t.ppf(0.975, len(x) - 2))
    return {
        "slope": slope, "error": error, "low": low, "high": high, "z": slope / error,
        "p": float(2 * stats.norm.sf(abs(slope / error))), "tau2": tau2,
        "slope_re": slope_re, "error_re": error_re, "low_re": low_re, "high_re": high_re,
        "q": q, "q_p": float(stats.chi2.sf(q, len(x) - 2)), "n": len(x),
    }  # fmt: skip


def trend(table, x, groups, *, effect="slope", variance="variance"):
    """How effects of known variance go with column x within each group, and over all groups. → (DataFrame, dict or None)

    In each group with at least three values of x the effects are regressed on it by inverse variances (`meta_slope`, fixed
    effects); the groups' slopes are pooled (`pool`), which is the dict, or None for fewer than two such groups.
    DataFrame: groups, slope, variance, low, high, q, q_p (of what is left of the line), n (effects).
    """
    groups, lines = [groups] if isinstance(groups, str) else list(groups), []
    columns = [*groups, "slope", "low", "high", "q", "q_p", "n", "variance"]
    for key, rows in table.groupby(groups, sort=False):
        if rows[x].nunique() >= 3:
            fit = meta_slope(rows[x], rows[effect], rows[variance])
            lines.append([*key, *(fit[name] for name in columns[len(groups) : -1]), fit["error"] ** 2])
    lines = pd.DataFrame(lines, columns=columns)
    return lines, pool(lines.slope, lines.variance) if len(lines) > 1 else None


def _effects(effects, variances, least):
    effects, variances = _finite(effects, "effects"), _finite(variances, "variances")
    if effects.size != variances.size or effects.size < least:
        raise ValueError(
            f"expected at least {least} effects and their variances, got {effects.size} and {variances.size}"
        )
    if (variances <= 0).any():
        raise ValueError(f"a variance must be above 0, got {variances.min():g}")
    return effects, variances


def crossing(t, y, level):
    """The first time t at which the line through a series y (n,) reaches `level` from below; NaN if it never does."""
    t, y = _finite(t, "t"), _finite(y, "y")
    if y[0] >= level:
        return float(t[0])
    above = np.flatnonzero(y >= level)
    if not above.size:
        return float("nan")
    k = above[0]
    return float(t[k - 1] + (t[k] - t[k - 1]) * (level - y[k - 1]) / (y[k] - y[k - 1]))


def peak(x, y):
    """Where a series y (n,) over x is largest, and how far it rises inside. → (x there, largest inner value / larger end)

    The second is above 1 for a hunchback, below 1 for a series that is largest at an end. ValueError for fewer than 3
    points, NaN, or a value that is not above 0.
    """
    x, y = _paired(x, y)
    if (y <= 0).any():
        raise ValueError(f"values must be above 0, got {y.min():g}")
    y = y[np.argsort(x, kind="stable")]
    return float(np.sort(x)[np.argmax(y)]), float(y[1:-1].max() / max(y[0], y[-1]))


def steepest(t, y, direction, *, start=None, end=None, width=9):
    """When a series y (n,) at equal steps t, smoothed, moves fastest in a direction (+1 or −1). → (time, at an edge?)

    start, end: times outside are left out of the search, not of the smoothing. At an edge, the first or last time
    allowed, the true moment may lie outside. ValueError where no time is left.
    """
    t = _finite(t, "t")
    moves = direction * smooth(y, width, derivative=1)
    allowed = (t >= (t[0] if start is None else start)) & (t <= (t[-1] if end is None else end))
    if not allowed.any():
        raise ValueError(f"no time lies between {start} and {end}")
    best = int(np.argmax(moves[allowed]))
    return float(t[allowed][best]), best in (0, int(allowed.sum()) - 1)


def ratio_interval(above, below):
    """Ratio of two means over n independent units, Σ above / Σ below, with the jackknife's interval. → (ratio, low, high)

    Steadier than a mean of ratios where `below` comes near zero; t interval of the pseudo-values (Tukey 1958).
    ValueError for fewer than 2 units, or NaN.
    """
    above, below = _finite(above, "above"), _finite(below, "below")
    n, whole = above.size, above.sum() / below.sum()
    without = (above.sum() - above) / (below.sum() - below)
    _, low, high = mean_interval(n * whole - (n - 1) * without)
    return float(whole), low, high


def _paired(x, y):
    x, y = _finite(x, "x"), _finite(y, "y")
    if x.size != y.size or x.size < 3:
        raise ValueError(f"expected at least 3 pairs, got {x.size} and {y.size} values")
    if np.ptp(x) == 0:
        raise ValueError(f"x is constant ({x[0]:g})")
    return x, y


def by_unit(table, by, unit, name, function):
    """What `function` makes of the rows of each unit, summarized over units. → DataFrame: by, name, low, high, count

    unit: the column whose values are independent of each other (a network's seed); function: rows → a number.
    """
    lines = [
        dict(zip([*by, unit], key, strict=True)) | {name: function(rows)}
        for key, rows in table.groupby([*by, unit], sort=False, dropna=False)
    ]
    return summarize(pd.DataFrame(lines), by, name)


def _pearson(x, y, axis=-1):
    return stats.pearsonr(x, y, axis=axis).statistic


def verdict(paper, low, high, *, error=0.0, direction=0, within=None, than=0.0, nonzero=False):
    """ "agrees", "differs" or "open" for a claim, by a rule fixed before any run.

    A claim of a value agrees if the paper's interval, paper ± error, meets ours, [low, high]; without an error of
    the paper's its number must lie in ours. A claim of `direction` (+1 or −1) agrees if our interval lies on that side
    of `than`, differs if it lies on the other, and is open while it holds it. A claim that something is near zero
    agrees if our interval lies `within` ± of it, differs if it lies outside, and is open else; these two need no number
    of the paper's (None). A claim of a value without one, or without an interval of ours (NaN), is open. nonzero: a claim of
    a value that is also one of something, open where our interval meets the paper's and holds zero.
    """
    if direction not in (-1, 0, 1) or (direction and within is not None):
        raise ValueError(f"direction must be -1 or 1, or within be given, not both; got {direction} and {within}")
    if not np.isfinite([low, high]).all():
        return "open"
    if direction:
        low, high = (low - than, high - than) if direction > 0 else (than - high, than - low)
        return "agrees" if low > 0 else "differs" if high < 0 else "open"
    if within is not None:
        inside, outside = -within <= low and high <= within, high < -within or within < low
        return "agrees" if inside else "differs" if outside else "open"
    if paper is None:
        return "open"
    if not (low <= paper + error and paper - error <= high):
        return "differs"
    return "open" if nonzero and low <= 0 <= high else "agrees"


def correlate(table, by, x, y, *, least=10, **options):
    """Pearson r of columns x and y within each group of `by`. → DataFrame: by, r, low, high, count, missing

    Rows in which either is NaN are left out and counted in `missing`; a group with fewer than `least` rows left, or
    with a constant column, gets r = NaN. options: those of `correlation_interval`.
    """
    lines = []
    for key, group in table.groupby(by, sort=False, dropna=False):
        pairs = group[[x, y]].dropna()
        known = len(pairs) >= least and (pairs.nunique() > 1).all()
        r = correlation_interval(pairs[x], pairs[y], **options) if known else (float("nan"),) * 3
        counts = {"count": len(pairs), "missing": len(group) - len(pairs)}
        lines.append(dict(zip(by, key, strict=True)) | dict(zip(("r", "low", "high"), r, strict=True)) | counts)
    return pd.DataFrame(lines)


def summarize(table, by, value, confidence=0.95):
    """Mean of column `value` and its t interval within each group. → DataFrame: by, value, low, high, count

    A group of one row has no interval (low = high = mean, count = 1). Raises ValueError for NaN, naming the group.
    """
    lines = []
    for key, group in table.groupby(by, sort=False, dropna=False):
        values = _finite(group[value], f"{value} of {key}")
        mean, low, high = mean_interval(values, confidence) if values.size > 1 else (*[float(values[0])] * 3,)
        lines.append({**dict(zip(by, key, strict=True)), value: mean, "low": low, "high": high, "count": values.size})
    return pd.DataFrame(lines)
