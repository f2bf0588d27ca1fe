"""The claims on toy models. The rule was fixed before the run: a claim agrees if the paper's interval meets ours.

The paper does not say how its models' sparsities are spaced, on which r hangs (`toy.analysis.stability`): what r is by SAEs
decides nothing.
"""

from superpos.answers import Answer, join, said, side
from superpos.claims import UNKNOWN, Claim, MeetsPaper, correlation_of
from superpos.findings.toy.analysis import MEASURES, by_model
from superpos.sweep import Rows

CLOSE = 0.92  # the lower end of what the paper says of r
CODES = "Toy models: ψ from SAE codes follows ψ of the weights"


def _claim(name: str, text: str, measure: str, rows: Rows, paper: float, error: float, protocol: str = "") -> Claim:
    """A measure goes with ψ of the weights, as strongly as in the paper."""
    reading, column = MEASURES[measure]
    models = by_model(rows).groupby("reading").get_group(reading)
    estimate = correlation_of(models.psi_weights, models[column], "toy model")
    return Claim(
        f"toy.{name}", text, "toy_truth.csv", estimate, MeetsPaper(error), paper, "toy models of superposition",
        protocol=protocol, possible=(-1, 1),
    )  # fmt: skip


def frobenius(rows: Rows) -> Claim:
    """On known weights, our ψ says what the measure of Elhage et al. says."""
    text = "Toy weights: ψ by the shares of ‖Wᵢ‖² follows ‖W‖²/N, the measure of Elhage et al. (r)"
    return _claim("r_frobenius_weights", text, "ψ_Frob of the toy weights", rows, 0.99, 0.01)


def published(rows: Rows) -> Claim:
    """By the reading of the paper's code, ψ from activations follows that of the weights."""
    text = f"{CODES}, the paper's recipe (r)"
    return _claim("r_published_recipe", text, "SAE codes, published", rows, 0.94, 0.02, UNKNOWN)


def protocol(rows: Rows) -> Claim:
    """By our protocol, it does too."""
    return _claim(
        "r_protocol", f"{CODES}, this book's protocol (r)", "SAE codes, protocol", rows, 0.94, 0.02, "our protocol"
    )


def topk(rows: Rows) -> Claim:
    """By a TopK SAE, on the same models."""
    models = rows["toy_reread"].groupby("model", as_index=False).mean(numeric_only=True)
    return Claim(
        "toy.r_topk", f"{CODES}, a TopK SAE (r)", "toy_reread.csv",
        correlation_of(models.psi_weights, models.psi, "toy model"), MeetsPaper(0.02), 0.94,
        "toy models of superposition", protocol="a TopK SAE", possible=(-1, 1),
    )  # fmt: skip


def answer(rows: Rows) -> Answer:
    """What the chapter on toy models comes to."""
    found = {"this book's protocol": protocol(rows), "the paper's recipe": published(rows)}
    told = [
        f"{side(one.estimate, CLOSE, 'closely', 'not closely', 'perhaps closely')} by {name} (r = {said(one.estimate)})"
        for name, one in found.items()
    ]
    ours = protocol(rows).estimate
    return Answer(
        "02_toy_models", "Where the features are known, does an SAE that sees only activations find how many there are?",
        f"ψ (F for each neuron) read from SAE codes follows the true ψ "
        f"{join(told, 'but' if len({t.split()[0] for t in told}) > 1 else 'and')}.",
        f"{ours.n} toy models on fresh seeds, three SAEs each; intervals over models, {ours.kind}. “Closely” is r above {CLOSE}. "
        "The count is judged only by the models for which it gives an answer.",
        ("toy_truth.csv", "toy.csv", "toy_reread.csv"),
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (frobenius, published, protocol, topk)
CHAPTERS = {"toy.": "02_toy_models"}
