"""What was found in networks that others trained. There is one of a kind, so that nothing is claimed: there is only an answer."""

from superpos.answers import Answer, number
from superpos.findings.pretrained import analysis
from superpos.sweep import Rows

NEAR = 1.5  # SAEs whose F differ by less than this factor say nearly the same
ALIKE = 0.9  # rank correlation from which on two SAEs order the layers of a network alike


def answer(rows: Rows) -> Answer:
    """What the chapter on published networks comes to."""
    trained, apart = analysis.counts(rows).query("state == 'trained'"), analysis.apart(rows).factor
    counted, n, networks = int(trained.identified.sum()), len(trained), trained.network.nunique()
    near = apart.median() < NEAR
    relied = "all" if counted == n else f"only {'those' if counted > 1 else 'that'}" if counted else "none"
    return Answer(
        "12_networks_people_use", "How many features do the layers of published networks hold, and can the numbers be relied on?",
        f"The count answers for {counted} of {n} layers of {networks} published networks, and three SAEs "
        f"{'nearly agree' if near else 'disagree'} about the F of a layer, by a factor of {number(apart.median())} in the median "
        f"[{number(apart.min())} to {number(apart.max())}]: {relied} of these numbers can be relied on as a number of features.",
        f"{n} layers of {networks} networks that others trained, each read once. In brackets: the range over layers. There is "
        "one network of a kind, so there is no interval over networks, and nothing is said of language models in general.",
        ("pretrained.csv", "pretrained_top.csv"), how_sure(rows),
    )  # fmt: skip


def how_sure(rows: Rows) -> str:
    """Whether SAEs agree which layers of a network hold more, and for how many layers the count answers, in a sentence each."""
    r, trained = analysis.agreement(rows).r, analysis.counts(rows).query("state == 'trained'")
    alike, opposed, refused = int((r > ALIKE).sum()), int((r < 0).sum()), int((~trained.identified).sum())
    head = "All SAEs agree" if alike == len(r) else "It depends on the SAE"
    return (
        f"{head}: each network's order of layers by one SAE is compared with that by another. Of these {len(r)} pairs of orders "
        f"{alike} {'is' if alike == 1 else 'are'} much the same (rank correlation above {ALIKE}) and {opposed} rather "
        f"reversed (below 0). The count, which gives an interval or refuses, refuses {refused} of {len(trained)}."
    )


CLAIMS: tuple = ()
ANSWERS = (answer,)
