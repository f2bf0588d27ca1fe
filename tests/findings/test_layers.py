"""Tables of the layers on made-up rows, whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest

from superpos.findings.language import analysis, claims, explorer
from superpos.findings.language.analysis import ATTENTION, L1, MLP, MOVED, REFITTED, STREAM, TOPK, UNTRAINED
from superpos.sweep import Rows

HEIGHTS = {  # of F by site; the stream: 4, 16, 8, 6
    "embed": 4.0, "attention.0": 2.0, "mlp.0": 8.0, "residual.0": 16.0, "attention.1": 3.0, "mlp.1": 14.0,
    "residual.1": 8.0, "attention.2": 2.5, "mlp.2": 7.0, "residual.2": 6.0,
}  # fmt: skip
KINDS = {  # reading: what its runs have other than ours, and F relative to ours
    L1: ({}, 1),
    TOPK: ({"dictionaries": "fit:topk"}, 3),
    UNTRAINED: ({"steps": 0, "loss": math.log(300)}, 0.5),
    REFITTED: ({"shuffled": "both", "loss": 9.0}, 2),
    MOVED: ({"shuffled": "read", "loss": 9.0}, 1),
}


def made_up(seed, reading=L1, factor=1.0, **changes):
    """A network's rows: F is its site's height × its seed; what is not asked for has other values than F."""
    changed, ratio = KINDS[reading]
    run = {"dictionaries": "fit:l1", "shuffled": "none", "k": 4, "l1": 0.5, "expansion": 4.0, "sae_steps": 10}
    run |= {"first_token": "keep", "loss": 3.0, "steps": 5, "seed": seed} | changed | changes
    run["model"] = f"small:layers=3,vocabulary=300,steps={run.pop('steps')},seed={seed}"
    rows = []
    for i, (site, height) in enumerate(HEIGHTS.items()):
        kind, _, layer = site.partition(".")
        F = height * ratio * seed * factor
        row = {"site": site, "kind": kind, "layer": int(layer or -1), "n_neurons": 2, "n_codes": 100}
        row |= {
            "effective_features": F,
            "psi": F / 2,
            "hill_0": 2 * F,
            "hill_2": F / 2,
            "intrinsic_dimension": 30 - height,
        }
        row |= {"effective_rank": height**2, "participation_ratio": height, "l0": 5.0, "dead": 0.0, "fvu": 0.1 * i}
        row |= {
            "curve_texts": "1 2 4",
            "curve_features": f"{F / 4} {F / 2} {F}",
            "curve_hill_0": f"{F} {2 * F} {2 * F}",
        }
        row |= {"curve_hill_2": f"{F / 2} {F / 2} {F / 2}", "enough": 2.0 if seed == 1 else math.nan}
        rows.append(row | run)
    return rows


def saved(folder, **files):
    about = {"row": "1/1", "revision": "abc", "versions": "superpos 1", "device": "here", "seconds": 36.0}
    for name, rows in files.items():
        pd.DataFrame(rows).assign(**about).to_csv(folder / f"{name}.csv", index=False)
    return Rows(folder)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    layers = [row for seed in (1, 2) for reading in KINDS for row in made_up(seed, reading)]
    varied = made_up(1, l1=0.25, factor=2) + made_up(1, TOPK, k=2) + made_up(1, first_token="drop")
    varied = [row | {"seed": 1001} for row in made_up(1, factor=math.e)] + varied
    return saved(tmp_path_factory.mktemp("results"), layers=layers, layers_variations=varied)


def test_rows_have_their_reading_line_and_depth(rows):
    table = analysis.sites(rows)
    assert table.reading.unique().tolist() == [L1, TOPK, UNTRAINED, MOVED, REFITTED]
    assert table.line.unique().tolist() == [MLP, STREAM, ATTENTION]
    assert table.groupby("site").depth.first().to_dict() == pytest.approx(
        {site: {"": 0, "0": 1 / 3, "1": 2 / 3, "2": 1}[site.partition(".")[2]] for site in HEIGHTS}
    )
    assert table.query("reading == @MOVED").shuffled.unique() == ["read"]


def test_checks_hold_and_each_is_noticed_where_it_does_not():
    rows = [row for reading in KINDS for row in made_up(1, reading)]
    held = analysis.checks(pd.DataFrame(rows))
    assert all(held.values())
    damages = [
        (UNTRAINED, {"loss": 7.0}), (TOPK, {"loss": 7.0}), (REFITTED, {"loss": 2.0}), (MOVED, {"effective_features": 1.5}),
        (TOPK, {"effective_features": 200.0}),
    ]  # fmt: skip
    for words, (reading, damage) in zip(held, damages, strict=True):
        other = [row | damage for row in made_up(1, reading)] + [
            row for r in KINDS if r != reading for row in made_up(1, r)
        ]
        assert [name for name, right in analysis.checks(pd.DataFrame(other)).items() if not right] == [words]


def test_losses_stand_beside_guessing(rows):
    found = analysis.losses(rows)
    assert found["mean"].tolist() == pytest.approx([3, math.log(300), 9, math.log(300)])


def test_means_by_layer_are_over_networks(rows):
    table = analysis.by_layer(rows).set_index(["measure", "reading", "line", "layer"])
    mean = table.loc[("F", TOPK, MLP, 1)]
    assert (mean["value"], mean["count"]) == (14 * 3 * 1.5, 2)
    assert table.loc[("ψ", L1, STREAM, -1), "value"] == 4 / 2 * 1.5


def test_convergence_is_relative_to_the_end(rows):
    table = (
        analysis.convergence(rows)
        .set_index(["measure", "reading", "line", "layer", "n_texts_read"])["value"]
        .sort_index()
    )
    assert table.loc[("F", L1, MLP, 0)].tolist() == [0.25, 0.5, 1]
    assert table.loc[("codes ever active", TOPK, STREAM, -1)].tolist() == [0.5, 1, 1]
    assert analysis.enough_by_layer(rows).loc[(L1, MLP), 0] == "2 (2), never 1"
    shares = analysis.first_mlp_shares(rows)
    assert shares.ours.to_dict() == {1: 0.25, 4: 1, "codes ever active": 2}
    assert shares.paper[1] == pytest.approx(0.2 / 6.3)


def test_the_hunchback(rows):
    found = analysis.hunchback(rows)
    assert found.loc[(STREAM, "F, L1")].tolist() == ["0.33 [0.33, 0.33]", "2.67 [2.67, 2.67]"]
    assert found.loc[(STREAM, "F, paper")].tolist() == ["0.33", "1.64"]
    assert found.loc[(STREAM, "TwoNN dimension"), "peak"] == "0.00 [0.00, 0.00]"
    profiles = analysis.relative_profiles(rows).set_index(["line", "measure", "layer"])["relative"].sort_index()
    assert profiles.loc[(STREAM, "F, TopK")].to_dict() == pytest.approx(
        {-1: 8 / 17, 0: 32 / 17, 1: 16 / 17, 2: 12 / 17}, abs=1e-4
    )


def test_controls_and_measures_that_order_the_sites_alike(rows):
    over = analysis.over_controls(rows)["ratio"]
    assert [over[control, "all sites"] for control in (UNTRAINED, MOVED, REFITTED)] == pytest.approx([2, 1, 0.5])
    assert over[UNTRAINED, MLP] == pytest.approx(2)
    rho = analysis.alike(rows).set_index("measure").rho
    assert (rho["F, TopK"], rho["effective rank"], rho["TwoNN dimension"]) == pytest.approx((1, 1, -1))
    assert abs(rho["unexplained variance"]) < 1


def test_what_other_saes_change(rows):
    found = analysis.effects(rows)
    assert found.index.tolist() == ["ours", "TopK", "λ 0.25", "no first tokens", "seed 1001", "TopK, k 2"]
    assert found["F over ours"].tolist() == pytest.approx([1, 3, 2, 1, math.e, 3])
    assert found["MLP / attention"].tolist() == pytest.approx([29 / 7.5] * 6)
    assert set(found["MLPs peak at"] + found["stream peaks at"]) == {"MLP, layer 1residual stream, layer 0"}
    assert analysis.spread(rows) == pytest.approx({"SAE seeds": 0.5**0.5, "networks": math.log(2) * 0.5**0.5})
    assert analysis.quality(rows).loc[(L1, STREAM), ["worst site", "unexplained there"]].tolist() == [
        "residual stream, layer 2",
        0.1 * 9,
    ]


def test_there_is_no_interval_where_f_settles_too_late_in_a_network(rows):
    claim = claims.samples_to_converge(rows)
    assert (claim.word, claim.estimate.value, np.isnan(claim.estimate.low)) == ("", 2, True)
    assert claims.hunchback(rows)[1].estimate.low > 1
    assert "ours is largest at: residual stream, layer 0 in 2 of 2 networks" in claims.peak_site(rows).text


def test_our_sae_stands_beside_every_other(rows):
    table = analysis.beside_ours(rows)
    assert table.variation.unique().tolist() == ["TopK", "λ 0.25", "no first tokens", "seed 1001", "TopK, k 2"]
    one = table.query("variation == 'λ 0.25' and line == @MLP").pivot(index="layer", columns="SAE", values="F")
    assert (one.other / one.ours).tolist() == [2, 2, 2]
    says = explorer.variations(table, analysis.effects(rows)).title
    assert " ".join(says).startswith("Other SAEs read 1 to 3 times the F")


def test_titles_of_charts_turn_with_the_rows(rows):
    by_layer = analysis.by_layer(rows)
    says = " ".join(explorer.by_kind(by_layer).title)
    assert says == "F is largest at the residual stream of layer 0; that of all MLPs is 3.87 times that of attention"
    high = by_layer.assign(value=by_layer["value"].where(by_layer.layer >= 0, 1000.0))
    assert "largest at the embedding" in " ".join(explorer.by_kind(high).title)
    rises = analysis.rises(rows)
    assert rises.index.tolist() == ["F, L1", "F, TopK", "TwoNN dimension", "effective rank"]
    profiles = analysis.relative_profiles(rows)
    assert " ".join(explorer.hunchback(profiles, rises).title).startswith(
        "F, L1, F, TopK and effective rank are surely higher"
    )
    assert " ".join(explorer.hunchback(profiles, rises.assign(low=0.5)).title).startswith(
        "None of 4 measures is surely"
    )


def test_the_answer_turns_with_the_rows(rows, tmp_path, monkeypatch):
    def answered(folder):
        layers = [row for seed in (1, 2) for reading in KINDS for row in made_up(seed, reading)]
        return claims.answer(saved(folder, layers=layers, language_reread=made_up(1) + made_up(2))).sentence

    (tmp_path / "a").mkdir()
    inside = answered(tmp_path / "a")
    assert (
        "MLPs hold more effective features than attention, 3.87 times as many, a ratio that training does not surely"
        in inside
    )
    assert (
        "largest at the residual stream, layer 0 in 2 of 2 networks, and a middle layer of the residual stream"
        in inside
    )
    for site, height in {"embed": 29.0, "mlp.0": 0.5, "mlp.1": 0.6, "mlp.2": 0.7}.items():
        monkeypatch.setitem(HEIGHTS, site, height)
    (tmp_path / "b").mkdir()
    ends = answered(tmp_path / "b")
    assert "MLPs hold fewer effective features than attention, 0.24 times as many" in ends
    assert "largest at the embedding in 2 of 2 networks, and no middle layer of the residual stream exceeds" in ends


def test_rows_of_pythia_stand_beside_the_papers(rows, tmp_path):
    assert analysis.about_pythia(rows).startswith("No run yet")
    assert analysis.pythia_profiles(rows).loc[(MLP, "paper"), "1"] == 10.5
    runs = [
        row | {"model": "someone/small-x", "dictionaries": "marks@here"} for seed in (1, 3) for row in made_up(seed)
    ]
    rows = saved(tmp_path, pythia=runs)
    assert "largest spread over draws, of the mean: 70.7%" in analysis.about_pythia(rows)
    assert analysis.pythia_profiles(rows).loc[(STREAM, "small-x, marks"), "embedding"] == 4 * 2 / 1000
    first = analysis.pythia_first_mlp(rows)["small-x, marks"]
    assert (first[1], first[100], first["codes ever active"]) == (8 / 4 * 2 / 1000, "", 16 * 2 / 1000)
