"""The claims on toy models. The rule was fixed before the run: a claim agrees if the paper's interval meets ours.

The paper does not say how its models' sparsities are spaced, on which r hangs (`toy.analysis.stability`): what r is by SAEs
decides nothing.
"""

from superpos.claims import UNKNOWN, Claim, MeetsPaper, correlation_of
from superpos.findings.toy.analysis import MEASURES, by_model
from superpos.sweep import Rows

CODES = "Toy models: ψ from SAE codes follows the weights"


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
    text = "Toy weights: ψ by ‖W_i‖² follows ψ_Frob (r)"
    return _claim("r_frobenius_weights", text, "ψ_Frob of the toy weights", rows, 0.99, 0.01)


def published(rows: Rows) -> Claim:
    """By the reading of the paper's code, ψ from activations follows that of the weights."""
    text = f"{CODES}, the paper's recipe (r)"
    return _claim("r_published_recipe", text, "SAE codes, published", rows, 0.94, 0.02, UNKNOWN)


def protocol(rows: Rows) -> Claim:
    """By our protocol, it does too."""
    return _claim("r_protocol", f"{CODES}, our protocol (r)", "SAE codes, protocol", rows, 0.94, 0.02, "our protocol")


def topk(rows: Rows) -> Claim:
    """By a TopK SAE, on the same models."""
    models = rows["toy_reread"].groupby("model", as_index=False).mean(numeric_only=True)
    return Claim(
        "toy.r_topk", f"{CODES}, a TopK SAE (r)", "toy_reread.csv",
        correlation_of(models.psi_weights, models.psi, "toy model"), MeetsPaper(0.02), 0.94,
        "toy models of superposition", protocol="a TopK SAE", possible=(-1, 1),
    )  # fmt: skip


CLAIMS = (frobenius, published, protocol, topk)
