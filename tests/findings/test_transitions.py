"""Measures of a transition on series that were made to have one."""

import numpy as np
import pandas as pd
import pytest

from superpos.claims import Estimate
from superpos.findings.grokking import analysis, claims, transitions, wording
from superpos.sweep import Rows

T = np.arange(0, 2001, 50)


def network(seed=1, middle=1000, rng=None):
    """Test accuracy rises at `middle`; `late` falls from 10 to 6 some 200 steps after it, `slow` falls all the time."""
    rise = 1 / (1 + np.exp(-(T - middle) / 60))
    late = 10 - 4 / (1 + np.exp(-(T - middle - 200) / 40))
    rows = {"step": T, "seed": seed, "accuracy_train": np.minimum(1, T / 400), "accuracy_test": rise, "late": late}
    rows |= {"slow": 20 - T / 200, "noise": rng.normal(size=T.size) if rng is not None else 0.0}
    return pd.DataFrame(rows)


def test_moments_of_a_logistic():
    found = transitions.moments(network())
    assert found["memorised"] == 400
    assert found["t50"] == pytest.approx(1000, abs=1)
    assert [found["t10"], found["t90"]] == pytest.approx([1000 - 60 * np.log(9), 1000 + 60 * np.log(9)], abs=10)
    never = network().assign(accuracy_test=0.05, accuracy_train=0.5)
    assert all(np.isnan(value) for value in transitions.moments(never).values())


def test_a_fall_by_hand():
    assert transitions.fall(network(), "late", 400, 800) == pytest.approx(0.4, abs=0.01)
    rows = pd.DataFrame({"step": [0, 100, 200, 300, 400], "x": [9.0, 4, 6, 2, 3]})
    assert transitions.fall(rows, "x", 100, 200, last=200) == pytest.approx(1 - 2.5 / 5)
    assert np.isnan(transitions.fall(rows, "x", 101, 199))
    assert np.isnan(transitions.fall(rows.assign(x=[9, 4, 6, np.nan, 3]), "x", 100, 200, last=200))


def test_the_part_of_a_fall_inside_a_window():
    found = transitions.peak_fall(network(), "late", 1100, 1300)
    inside = 1 / (1 + np.exp(-100 / 40)) - 1 / (1 + np.exp(100 / 40))
    assert found["drop"] == pytest.approx(0.4, abs=0.01)
    assert found["inside"] / found["fall"] == pytest.approx(inside, abs=0.15)  # 0.85, smeared by the smoothing
    straight = transitions.peak_fall(network(), "slow", 500, 1500)
    assert straight["peak_step"] == 0
    assert straight["time"] == pytest.approx(0.5)
    assert straight["inside"] == pytest.approx(5)
    assert np.isnan(transitions.peak_fall(network().assign(slow=T), "slow", 500, 1500)["time"])


def test_steepest_moments_know_their_windows():
    table = pd.concat([network(1, 900), network(2, 1100)])
    windows = pd.DataFrame({"start": 300.0, "end": {1: 1900.0, 2: 1200.0}})
    found = transitions.steepest_moments(table, "late", -1, windows)
    assert found["at"].tolist() == [pytest.approx(1100, abs=50), 1200]
    assert found.edge.tolist() == [0, 1]


def test_noise_leads_towards_the_middle_of_the_window():
    table, windows = pd.concat([network(1), network(2)]), pd.DataFrame({"start": 200.0, "end": 1800.0}, index=[1, 2])
    leads = transitions.noise_leads(table, pd.Series({1: 1000.0, 2: 400.0}), windows)
    assert leads[1] == pytest.approx(0, abs=120)
    assert leads[2] == pytest.approx(600, abs=120)


def test_changes_of_blocks_forget_the_trend_and_the_rest():
    assert transitions.block_changes(pd.Series([1, 3, 5, 7, 2, 2, 9]), 2).dropna().tolist() == [4, -4]
    holed = transitions.block_changes(pd.Series([1, 3, np.nan, 7, 2, 2]), 2)
    assert holed.isna().tolist() == [True, True]


def test_own_series_stand_out_only_where_they_share_more_than_the_trend():
    """Two columns that fall alike; their wiggles are shared within a network in one pair, and by nobody in the other."""
    rng = np.random.default_rng(0)
    networks = []
    for seed in (3, 1, 2, 5):
        rows = network(seed, rng=rng).assign(since=T)
        wiggle = rng.normal(0, 3, T.size)
        networks.append(rows.assign(a=rows.slow + wiggle, b=rows.slow + wiggle, c=rows.slow + rng.normal(0, 3, T.size)))
    table = pd.concat(networks)
    shared, apart = (transitions.correlations(table, table, "a", other) for other in ("b", "c"))
    assert sorted(shared.index) == [1, 2, 3, 5]
    assert shared.raw.tolist() == pytest.approx([1] * 4)
    assert shared.detrended.tolist() == pytest.approx([1] * 4)
    assert (shared.excess > 0.2).all()
    assert (apart.raw > 0.2).all()  # the trend alone
    assert abs(apart.excess.mean()) < 0.15
    by_hand = np.corrcoef(table[table.seed == 3].a, table[table.seed == 5].c)[0, 1]
    assert transitions.pairings(table, "a", "c").loc[3, 5] == pytest.approx(by_hand)


def logistic(t, middle, width=50):
    return 1 / (1 + np.exp(-(t - middle) / width))


@pytest.mark.parametrize("middle", [300, 700])
@pytest.mark.parametrize("direction", [1, -1])
def test_the_steepest_moment_of_a_logistic_is_its_middle(middle, direction):
    t = np.arange(0, 1001, 10)
    noise = np.random.default_rng(1).normal(0, 0.01, t.size)
    found, at_an_edge = transitions.steepest(t, direction * 20 * (logistic(t, middle) + noise), direction)
    assert found == pytest.approx(middle, abs=40)
    assert not at_an_edge


def test_what_lies_before_the_start_is_no_steepest_moment():
    t = np.arange(0, 1001, 10)
    y = 5 * logistic(t, 200) + logistic(t, 700)
    assert transitions.steepest(t, y, 1) == (pytest.approx(200, abs=10), False)
    assert transitions.steepest(t, y, 1, start=500) == (pytest.approx(700, abs=10), False)
    assert transitions.steepest(t, y, 1, start=250, end=600) == (250, True)
    with pytest.raises(ValueError, match="no time lies between 2000 and inf"):
        transitions.steepest(t, y, 1, start=2000)


def test_a_ratio_of_means_by_hand():
    """(1 + 2 + 3) / (2 + 2 + 4); without each in turn 5/6, 4/6, 3/4; pseudo-values 3·6/8 − 2·those."""
    ratio, low, high = transitions.ratio_interval([1, 2, 3], [2, 2, 4])
    pseudo = [3 * 0.75 - 2 * value for value in (5 / 6, 4 / 6, 3 / 4)]
    half = np.std(pseudo, ddof=1) / 3**0.5 * 4.302653
    assert ratio == 0.75
    assert [low, high] == pytest.approx([np.mean(pseudo) - half, np.mean(pseudo) + half])


def test_the_interval_of_a_ratio_covers_it():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        below = rng.normal(2, 0.5, 10)
        _, low, high = transitions.ratio_interval(0.6 * below + rng.normal(0, 0.3, 10), below)
        covered += low <= 0.6 <= high
    assert 180 <= covered <= 199


def test_smoothing_keeps_parabolas_and_gives_their_slope():
    t = np.arange(20.0)
    assert transitions.smooth(t**2) == pytest.approx(t**2)
    assert transitions.smooth(t**2, derivative=1) == pytest.approx(2 * t)


def test_a_crossing_lies_between_two_points():
    assert transitions.crossing([0, 10, 20, 30], [0.0, 0.0, 1.0, 0.2], 0.25) == pytest.approx(12.5)
    assert transitions.crossing([5, 10], [0.5, 0.1], 0.25) == 5
    assert np.isnan(transitions.crossing([0, 10], [0.0, 0.2], 0.25))


def test_a_series_with_a_gap_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        transitions.smooth([1.0, np.nan, *range(10)])


def test_bars_of_a_timeline_are_its_words():
    rows = pd.DataFrame([{"step": 5, "shares": "0.7 0.2995 0.0005", "tuned": "bs-", "spectrum": "0.9 0.1"}])
    bars = analysis.timeline_bars(rows)
    assert bars.to_numpy().tolist() == [
        [5, "code", 1, "b", 0.7],
        [5, "code", 2, "a + b", 0.2995],
        [5, "frequency", 1, "power", 0.9],
        [5, "frequency", 2, "power", 0.1],
    ]


def checkpoints(seed, state="weight decay", width=48):
    """A network that generalises at step 900 + 50 · seed, unless it is a control: F falls late, the Fourier share moves early."""
    shift = 50 * seed
    rise = 1 / (1 + np.exp(-(T - 900 - shift) / 60)) * (state == "weight decay")
    early = 1 / (1 + np.exp(-(T - 700 - shift) / 40)) * (state == "weight decay")
    columns = dict.fromkeys((*analysis.MEASURES.values(), "loss_train"), 1.0 + rise)
    columns |= {"architecture": "mlp", "width": width, "state": state, "seed": seed, "step": T, "fourier_share": early}
    columns |= {"accuracy_train": np.minimum(1, T / 400), "accuracy_test": rise, "features_pre_protocol": 10 - 4 * rise}
    columns |= {f"half_{site}_{by}": 10.0 for site in ("pre", "post") for by in ("protocol", "mean_unit")}
    columns |= {f"llc_trouble_{setting}": None for setting in ("hot", "cold")}
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Four networks, of which one never generalises, and a control for each of two seeds."""
    folder = tmp_path_factory.mktemp("results")
    late = checkpoints(4).assign(accuracy_test=0.1)
    tables = [late, *(checkpoints(seed) for seed in (3, 1, 2)), *(checkpoints(s, "no weight decay") for s in (1, 4))]
    tables[1].loc[5, "llc_trouble_cold"] = "drift"
    pd.concat(tables).to_csv(folder / "grokking.csv", index=False)
    lines = [
        {
            "site": site,
            "variation": name,
            "seed": seed,
            "step": step,
            "effective_features": F,
            "fvu": 0.1,
            "l0": 3,
            "dead": 0,
        }
        for site in ("pre", "post")
        for name in analysis.VARIATIONS
        for seed in (1, 2)
        for step, F in ((800, 10 * (1 + (name == "untied"))), (4000, 10 - seed * (name == "ours")))
    ]
    pd.DataFrame(lines).to_csv(folder / "grokking_variations.csv", index=False)
    return Rows(folder)


def test_falls_are_read_between_the_moments_of_the_seed(rows):
    assert analysis.generalising(rows) == "MLP, 48 neurons: 3 of 4 generalise (not: seeds [4])"
    assert analysis.falls(rows, "F, pre").to_dict() == {seed: pytest.approx(0.4, abs=0.02) for seed in (1, 2, 3)}
    assert analysis.falls(rows, "F, pre", state="no weight decay").to_dict() == {1: 0}, "seed 4 has no moments"
    over = analysis.summary(analysis.falls(rows, "F, pre") - analysis.falls(rows, "F, pre", state="no weight decay"))
    assert (over["n"], np.isnan(over["low"])) == (1, True)
    moved = analysis.half_way(rows)
    assert moved.loc["F, pre", "fall, half way"] == 0
    assert moved.loc["F, pre", "F moves by"] == pytest.approx(0.21, abs=0.02)


def test_a_chain_in_trouble_gives_no_estimate(rows):
    table = analysis.networks(rows)
    assert table[table["LLC, cold"].isna()][["seed", "step"]].to_numpy().tolist() == [[3, 250]]
    assert table["LLC, hot"].notna().all()


def test_levels_are_read_at_the_moments_of_each_network(rows):
    levels = analysis.levels(rows)
    assert levels.loc["training accuracy"].tolist() == [0, 1, 1, 1]
    assert levels.t50["test accuracy"] == pytest.approx(0.5, abs=0.01)
    assert levels.loc["F, paper"].tolist()[:2] == [145, 175]


def test_networks_are_aligned_at_their_transition(rows):
    aligned = analysis.aligned(rows)
    assert sorted(aligned.seed.unique()) == [1, 2, 3]
    at = aligned[aligned.since == 0]
    assert at.step.tolist() == [950, 1000, 1050]
    curve = analysis.curves(aligned, ["since"]).query("measure == 'test accuracy' and since == 0")
    assert curve[["value", "count"]].to_numpy().tolist() == [[0.5, 3]]


def test_the_first_mover_is_the_measure_that_moves_first(rows):
    found = analysis.first_movers(rows)
    assert found.measure.unique().tolist() == ["Fourier share, top 5"]
    assert found.lead.tolist() == [-200] * 3
    assert claims.first_mover(rows).estimate.value == -200
    assert analysis.leads(rows).query("measure == 'F, pre'").lead.tolist() == [0, 0, 0]


def test_choices_are_compared_with_the_protocol(rows):
    found = analysis.choices(rows).loc["pre"]
    assert found["mean"][["ours", "untied", "half λ"]].tolist() == [pytest.approx(0.15), 0.5, 0]
    assert found.other["ours"] == 0
    assert found.other["half λ"] == pytest.approx(np.mean([0, 1 / 9, 0, 2 / 8]))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.2, "agrees"), (0.1, 0.5, "open"), (0.2, 0.5, "differs"), (-0.1, 0.5, "open"), (-0.5, 0.1, "open")],
)
def test_a_range_that_holds_zero_leaves_a_claim_of_one_run_open(low, high, word):
    assert claims.OneRun(0.02)(0.13, Estimate(0.2, low, high, "", "", 5)) == word


def test_the_range_of_one_run_holds_one_more_run():
    """t(0.975, 2) = 4.302653, s = 1, n = 3."""
    estimate = claims.one_run_of(pd.Series([1.0, 2.0, 3.0]))
    assert (estimate.value, estimate.high - 2) == (2, pytest.approx(4.302653 * (4 / 3) ** 0.5))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            0.2,
            -0.1,
            [
                "F falls by 20 [15 to 25] percent where",
                "function, but rises by 10 [5 to 15] percent where it is read after",
            ],
        ),
        (
            -0.2,
            -0.1,
            [
                "F rises by 20 [15 to 25] percent where",
                "function, and rises by 10 [5 to 15] percent where it is read after",
            ],
        ),
        (0.0, 0.1, ["F neither surely falls nor rises (a fall", "function, but falls by 10 ["]),
    ],
)
def test_the_answer_says_what_the_rows_say(before, after, words, monkeypatch, tmp_path):
    def claim(name, value):
        estimate = Estimate(value, value - 0.05, value + 0.05, "Student t, 95%", "network", 10)
        return claims._claim(name, "text", estimate, claims.OnSide(1))

    made = [claim("f_fall", before), claim("f_fall_post", after), claim("f_fall_published", -0.4)]
    monkeypatch.setattr(claims, "falls", lambda rows: made)
    pd.DataFrame({"seed": [1, 2, 2]}).to_csv(tmp_path / "grokking_reread.csv", index=False)
    answer = claims.answer(Rows(tmp_path))
    assert all(word in answer.sentence for word in words), answer.sentence
    assert answer.sentence.endswith("by the paper's recipe, read before it, F rises by 40 [35 to 45] percent.")
    assert "is of 2 other networks" in answer.rests_on


def test_the_first_figure_holds_every_state_at_the_steps_of_the_controls(rows):
    table = analysis.through(analysis.checkpoints(rows))
    by = table.set_index(["what", "state", "site", "step"]).sort_index()
    assert by["count"].loc["F", "weight decay", "before", 0] == 4
    of_few = by.loc[("F", "no weight decay", "before", 0)]
    assert (of_few["count"], of_few.low, of_few.value, of_few.high) == (2, 10, 10, 10)
    assert set(table.what) == {"accuracy", "F"}
    assert analysis.so_far_in_words(analysis.checkpoints(rows)).startswith("Run here: in 2,000 steps 3 of 4 networks")


def test_sentences_follow_the_intervals():
    assert wording.moves({"mean": 0.2, "low": 0.1, "high": 0.3}) == "falls by 20%"
    assert wording.moves({"mean": -0.2, "low": -0.3, "high": -0.1}) == "rises by 20%"
    assert wording.moves({"mean": 0.2, "low": -0.1, "high": 0.5}) == "neither surely falls nor rises"
    table = pd.DataFrame({"low": [0.1, -0.1, -0.3], "high": [0.2, 0.1, -0.1]})
    assert (wording.surely(table), wording.surely(table, -1)) == ("1 of 3", "1 of 3")
    leads = table.assign(edge=[0.1, 0.2, 0.9])
    assert wording.order(leads) == "0 of 2 measures surely move before test accuracy, 1 of 2 after it"
    chains = pd.DataFrame({"setting": ["cold", "hot", "hot"], "loss": [1.0, 2.0, 9.0]})
    assert (
        wording.chains(chains, 4)
        == "Cold chains stay below the loss of guessing; hot chains go above the loss of guessing"
    )
    assert wording.in_words("F, pre, published") == "F before the activation, paper's recipe"


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.1, 0.2, ") more"), (-0.2, -0.1, "less"), (-0.1, 0.1, "not surely more")]
)
def test_whether_f_goes_with_its_own_llc_is_told_by_the_excess(low, high, words):
    kinds = {"own": 0.5, "others": 0.4, "excess": 0.1}
    table = pd.DataFrame(
        {"LLC": "cold", "measure": "F, pre", "r of": list(kinds), "mean": kinds.values(), "low": low, "high": high}
    )
    assert f"{words} than with that of others" in wording.correlations(table)


def test_the_fall_of_the_controls_is_told_together(rows):
    told = analysis.controls_in_words(rows)
    assert told.startswith("F before the activation falls by 40% with weight decay; it neither")
