"""The claims on planted features. The paper makes none, so that none has a word: the numbers are there to be known."""

from superpos.claims import ELSEWHERE, Claim, MeetsPaper, mean_of
from superpos.findings.planted import analysis
from superpos.sweep import Rows


def planted_errors(rows: Rows) -> list[Claim]:
    """How far F is from the number of planted features, by each reading."""
    text, unit = "Planted features: mean error of F relative to their number, {} (0 is right)", "seed of data and SAE"
    return [
        Claim(
            f"measure.planted_error_{name}",
            text.format(name),
            "planted.csv",
            mean_of(error, unit),
            MeetsPaper(),
            table=ELSEWHERE,
        )
        for name, error in analysis.errors(rows).items()
    ]


CLAIMS = (planted_errors,)
