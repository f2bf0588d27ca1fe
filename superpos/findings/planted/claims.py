"""The claims on planted features. The paper makes none, so that none has a word: the numbers are there to be known."""

from superpos.answers import Answer, join, said, side
from superpos.claims import ELSEWHERE, Claim, Estimate, MeetsPaper, mean_of
from superpos.findings.planted import analysis
from superpos.sweep import Rows

CLOSE = 0.12  # the mean error that the chapter on the count allows a count: trust.mean_error
WHO = {"protocol": "this book's protocol", "published": "the paper's recipe"}


def planted_errors(rows: Rows) -> list[Claim]:
    """How far F is from the number of planted features, by each reading."""
    text, unit = (
        "Planted features: mean error of F relative to their number, by {} (0 is right)",
        "seed of data and SAE",
    )
    return [
        Claim(
            f"measure.planted_error_{name}",
            text.format(WHO[name]),
            "planted.csv",
            mean_of(error, unit),
            MeetsPaper(),
            table=ELSEWHERE,
        )
        for name, error in analysis.errors(rows).items()
    ]


def _percent(ours: Estimate) -> str:
    return f"{ours.value:.0%} [{ours.low:.0%} to {ours.high:.0%}]"


def _advice(words: set[str], ordered: bool) -> str:
    """What a reader may rely on: words are where the errors lie, ordered whether more features always read as more."""
    head = {
        frozenset({"far"}): f"more than {CLOSE:.0%}",
        frozenset({"close"}): f"less than {CLOSE:.0%}",
    }.get(frozenset(words), f"not surely less than {CLOSE:.0%}")
    trust = {
        (True, True): "trust both the order and the number", (True, False): "trust the order, not the number",
        (False, True): "trust the number, not small differences", (False, False): "trust neither the order nor the number",
    }  # fmt: skip
    seen = f"more features {'always' if ordered else 'do not always'} read as more"
    return f"{head}; {seen}: here one can {trust[ordered, words == {'close'}]}"


def answer(rows: Rows) -> Answer:
    """What the chapter on measuring a model comes to: how far one SAE is off where the truth is known."""
    off = {claim.id.rpartition("_")[2]: claim.estimate for claim in planted_errors(rows)}
    words = {side(one, CLOSE, "far", "close", "neither") for one in off.values()}
    table = analysis.plain(rows["planted"])
    right, pairs = analysis.order(table)
    told = join([f"by {_percent(one)} by {WHO[name]}" for name, one in off.items()])
    nothing = analysis.unlearned(rows).query("reader == @WHO['protocol']").groupby("control", sort=False).psi
    floor = join([f"{said(mean_of(psi, 'set of rows'))} from {control}" for control, psi in nothing])
    agree = {
        frozenset({"far"}): "Both protocols miss by more than",
        frozenset({"close"}): "Both protocols miss by less than",
    }
    firm = agree.get(frozenset(words), "The protocols do not agree, or do not decide, on a miss of")
    some, seeds = table.iloc[0], table.seed.nunique()
    return Answer(
        "01_measure_your_own", "How many features does a layer hold, and how far off is one sparse autoencoder (SAE)?",
        f"On planted features one SAE is off {told}, {_advice(words, right == pairs)}.",
        f"{seeds} seeds of data and SAE, {len(table) // seeds // len(off)} planted worlds of {some.n_neurons} neurons each;"
        f" intervals over seeds, {next(iter(off.values())).kind}. A mean error below {CLOSE:.0%} is what chapter 10"
        " asks of a count.",
        ("planted.csv", "counting_readers.csv"),
        f"{firm} {CLOSE:.0%}, on data that are an easy case: features alike, no noise. Of {pairs} pairs of a world with"
        f" one of more features F orders {right} rightly. A number is no proof of learning: where nothing was learned, "
        f"{WHO['protocol']} still reads"
        f" ψ = {floor}.",
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (planted_errors,)
CHAPTERS = {"measure.": "01_measure_your_own"}
