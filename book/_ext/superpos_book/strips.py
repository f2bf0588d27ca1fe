"""A claim's interval beside the paper's, as a small picture (SVG) on a scale of its own."""

import html
import math

from superpos.answers import number, within

WIDTH, HEIGHT, MARGIN = 220, 30, 12


def strip(row):
    """A dot with a bar for ours, a band for the paper's number with its ±, a dashed line at zero where zero is near. → SVG

    row: a line of verdicts.csv. "" for a claim that has no number.
    """
    ours, low, high, paper, error = (float(row[name] or "nan") for name in ("ours", "low", "high", "paper", "error"))
    if math.isnan(ours):
        return ""
    low, high = (ours if math.isnan(end) else end for end in (low, high))
    error = 0 if math.isnan(error) else error
    known = [one for one in (low, high, ours, paper - error, paper + error) if not math.isnan(one)]
    span = max(known) - min(known) or abs(ours) or 1.0
    if min(abs(one) for one in known) < span or min(known) < 0 < max(known):
        known.append(0.0)
    least, most = min(known), max(known)

    def at(value):
        return f"{MARGIN + (value - least) / ((most - least) or 1) * (WIDTH - 2 * MARGIN):.1f}"

    middle, parts = HEIGHT / 2, []
    if least <= 0 <= most:
        parts.append(f'<line class="zero" x1="{at(0)}" x2="{at(0)}" y1="3" y2="{HEIGHT - 3}"/>')
    if not math.isnan(paper):
        left, right = float(at(paper - error)), float(at(paper + error))
        parts.append(
            f'<rect class="paper" x="{left - 1.5:.1f}" width="{right - left + 3:.1f}" y="5" height="{HEIGHT - 10}"/>'
        )
    parts.append(f'<line class="ours" x1="{at(low)}" x2="{at(high)}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="ours" cx="{at(ours)}" cy="{middle}" r="4.5"/>')
    said = f"ours {within(ours, low, high)}" + ("" if math.isnan(paper) else f"; the paper's {number(paper)}")
    return (
        f'<svg class="sp-strip" role="img" aria-label="{html.escape(said)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}">{"".join(parts)}</svg>'
    )
