import itertools
import math
from collections import Counter

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from superpos import claims as core
from superpos import sae
from superpos.activations import read_activations
from superpos.findings.algorithms import analysis, claims, programs, runs, task
from superpos.findings.algorithms.programs import compile_program
from superpos.sweep import Rows

ALL = list(programs.PROGRAMS)


@pytest.fixture(scope="module")
def small():
    """The quickest program: 25 coordinates, two layers, 325 sequences."""
    return compile_program("sort_unique")


def words(asked, row):
    return [asked.vocabulary[t] for t in row[1:] if t != asked.pad]


def answers(asked, row):
    return [asked.outputs[a] for a in row if a >= 0]


@pytest.mark.parametrize("name", ALL)
def test_the_port_is_jax_and_answers_everything(name):
    compiled = compile_program(name)
    tokens, sequences = programs.share_right(compiled.model(compiled.task.tokens), compiled.task)
    assert tokens == sequences == 1
    assert programs.difference_to_jax(compiled) < 1e-5


def test_a_changed_weight_is_noticed(small):
    compiled = compile_program("histogram", length=3)
    compiled.model.layers[0].mlp[2].bias.data[0] += 0.1
    assert programs.difference_to_jax(compiled) > 0.01


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reverse", lambda s: s[::-1]),
        ("sort", sorted),
        ("sort_unique", sorted),
        ("histogram", lambda s: [s.count(t) for t in s]),
    ],
)
def test_the_answers_are_pythons(name, expected):
    asked = compile_program(name).task
    for tokens, wanted in zip(asked.tokens.tolist(), asked.answers.tolist(), strict=True):
        assert answers(asked, wanted) == expected(words(asked, tokens))


def test_the_answers_to_parentheses():
    def balanced(s):
        depths = list(itertools.accumulate(1 if t == "(" else -1 for t in s))
        return min(depths) >= 0 and depths[-1] == 0

    asked = compile_program("parentheses").task
    for tokens, wanted in zip(asked.tokens.tolist(), asked.answers.tolist(), strict=True):
        assert set(answers(asked, wanted)) == {balanced(words(asked, tokens))}


def test_sizes_of_the_tasks():
    sizes = {name: (c.n_neurons, len(c.task), c.shape[0]) for name in ALL[:3] for c in [compile_program(name)]}
    assert sizes == {"reverse": (45, 3905, 4), "sort": (50, 3905, 3), "sort_unique": (25, 325, 2)}


def test_padding_is_not_seen(small):
    row = (small.task.real.sum(1) == 3).nonzero()[0]
    padded, cut = small.task.tokens[row], small.task.tokens[row, :3]
    assert torch.allclose(small.model(padded)[:, :3], small.model(cut), atol=1e-6)


def test_share_right_of_known_logits():
    asked = programs.Task(
        torch.tensor([[0, 1, 1], [0, 1, 2]]), torch.tensor([[-1, 0, 1], [-1, 0, -1]]), ("BOS", "a", "PAD"), (7, 8)
    )
    always_first = torch.tensor([1.0, 0.0]).expand(2, 3, 2)
    tokens, sequences = programs.share_right(always_first, asked)
    assert tokens == pytest.approx(2 / 3)
    assert sequences == 0.5
    broken = always_first.clone()
    broken[1, 1] = torch.nan
    assert programs.share_right(broken, asked)[1] == 0


def test_numbers_as_answers(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from tracr.compiler import lib\nfrom tracr.rasp import rasp\n"
        "def share_of_twos():\n    return lib.make_frac_prevs(rasp.tokens == 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    compiled = compile_program("mine:share_of_twos", vocabulary=(1, 2), length=3)
    asked = compiled.task
    assert len(asked) == 14
    assert asked.outputs == ()
    whole = [words(asked, row) for row in asked.tokens.tolist()].index([2, 1, 2])
    assert asked.answers[whole, 1:].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert programs.share_right(compiled.model(asked.tokens), asked)[1] == 1
    with pytest.raises(ValueError, match="answers with numbers"):
        task.compress(compiled, 4, [0])
    with pytest.raises(ValueError, match="answers with numbers"):
        task.train_from_scratch(compiled, 4, [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "revers"}, "unknown program 'revers'"),
        ({"name": "no_such_module:f"}, "no program"),
        ({"name": "math:sqrt2"}, "no program"),
        ({"name": "sys:version"}, "gave a str"),
        ({"name": "reverse", "length": 0}, "length of at least 1"),
        ({"name": "reverse", "vocabulary": ("BOS", "a")}, "other than BOS"),
        ({"name": "reverse", "vocabulary": tuple(range(20)), "length": 5}, "3,368,420 sequences"),
    ],
)
def test_bad_programs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        compile_program(**arguments)


def test_nnsight_reads_the_stream(small):
    streams, _ = small.model.streams(small.task.tokens)
    read = read_activations(small.model, small.task.tokens, ["residual.0", "residual.2"], n_samples=10_000)
    for name, stream in (("residual.0", streams[0]), ("residual.2", streams[2])):
        x = read[name].x
        assert x.shape == (325 * 6, 25)
        assert torch.allclose(x.double().sum(0), stream.reshape(-1, 25).double().sum(0), atol=1e-3)


def test_no_compression_changes_nothing(small):
    model = task.compressed(small, torch.eye(25))
    ours, theirs = model.streams(small.task.tokens), small.model.streams(small.task.tokens)
    for a, b in zip(ours[0], theirs[0], strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)


def test_a_compressed_block_reads_and_writes_through_w(small):
    """The first layer by hand."""
    W = torch.randn(7, 25, generator=torch.Generator().manual_seed(1))
    tokens = small.task.tokens[:5]
    layer, real = small.model.layers[0], small.task.real[:5]
    r = small.model.embed(tokens) @ W.T
    r = r + layer.attention((r @ W).clamp(min=0), real) @ W.T
    r = r + layer.mlp((r @ W).clamp(min=0)) @ W.T
    model = task.compressed(small, W)
    assert torch.allclose(model.streams(tokens)[0][1], r, atol=1e-4)
    stack = task.compressed(small, torch.stack([torch.zeros_like(W), W])).streams(tokens)[0][1]
    assert torch.allclose(stack[1], r, atol=1e-4)


def test_only_w_learns(small):
    model = task.compressed(small, torch.eye(25))
    model(small.task.tokens[:9]).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["W"]
    assert model.W.grad.abs().sum() > 0
    assert all(p.grad is None for name, p in model.named_parameters() if name != "W")


def test_a_solution_is_one_in_more_neurons(small):
    W = torch.randn(5, 25, generator=torch.Generator().manual_seed(0))
    wider = torch.cat([W, torch.zeros(2, 25)])
    a, b = (task.compressed(small, w)(small.task.tokens) for w in (W, wider))
    assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("name", ["sort_unique", "reverse"])
def test_blocks_cut_to_size_do_what_the_whole_ones_do(name):
    compiled = compile_program(name)
    blocks = task.blocks(compiled)
    everything = torch.arange(len(compiled.task))
    for block in blocks:
        x = block.states[None][:, :, block.reads]
        assert block.loss(x, everything, compiled.task.real).item() < 1e-9
        assert block.loss(0 * x, everything, compiled.task.real).item() > 1e-3
    assert len(blocks) == {"sort_unique": 4, "reverse": 6}[name]


def test_compression_solves_what_is_wide_enough_and_leaves_the_rest_alone(small):
    before = {name: p.clone() for name, p in small.model.state_dict().items()}
    wide = task.compress(small, 20, [5, 6], steps=2_000, block_steps=100)
    assert wide.sequences.tolist() == [1, 1]
    again = programs.share_right(task.compressed(small, wide.W[1])(small.task.tokens), small.task)
    assert again[1] == wide.sequences[1]
    assert wide.streams[0].shape == (2, 325, 6, 20)
    narrow = task.compress(small, 2, [5, 6], steps=500, block_steps=100)
    assert narrow.sequences.max() < 0.5
    assert all(torch.equal(before[name], p) for name, p in small.model.state_dict().items())


def test_of_the_two_phases_the_better_end_is_kept(small):
    trained = task.compress(small, 9, [1, 2, 3, 4], steps=600, block_steps=200)
    assert (trained.sequences >= trained.after_reads).all()
    assert (trained.sequences > trained.after_reads).any()


def test_a_start_does_not_depend_on_its_neighbours(small):
    alone = task.compress(small, 12, [6], steps=30, block_steps=0).W[0]
    stacked = task.compress(small, 12, [5, 6], steps=30, block_steps=0).W[1]
    assert torch.allclose(alone, stacked, atol=1e-4)


def test_training_from_scratch_is_torchs_own(small):
    """Three steps of a stack beside three of one network alone, in torch's plain way."""
    steps, asked = 3, small.task
    stack = task.train_from_scratch(small, 6, [3, 4], steps=steps)
    draw = task.batches(asked, task.LENGTH["scratch"], 3)
    model = task.untrained(small, 6, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = draw()
        tokens, wanted, where = asked.tokens[chosen], asked.answers[chosen], asked.asked[chosen]
        loss = torch.nn.functional.cross_entropy(model(tokens)[where], wanted[where])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert torch.allclose(stack.streams[2][1], model.streams(asked.tokens)[0][2], atol=1e-3)


def test_scratch_learns(small):
    trained = task.train_from_scratch(small, 12, [1], steps=400)
    assert trained.tokens.item() > 0.9


def test_networks_and_saes_start_from_different_numbers(small):
    network = task.untrained(small, 16, 5).token.weight
    rows = torch.randn(100, 16, generator=torch.Generator().manual_seed(5))  # the SAE's first weights
    unit = torch.nn.functional.normalize
    assert (unit(network) @ unit(rows).T).abs().max() < 0.95
    fit = sae.fit(rows, sae.PROTOCOL.but(scale="none", n_codes=100, l1=0.0, steps=1, lr=1e-9), seed=5)
    assert torch.allclose(unit(rows), fit.dictionary, atol=1e-3)


def test_a_stream_with_negative_values_cannot_be_compressed():
    with pytest.raises(ValueError, match="down to -1"):
        task.compress(compile_program("parentheses"), 38, [0])


def test_rows_are_the_real_positions_at_the_length_asked_for(small):
    real = small.task.real
    stream = torch.randn(*real.shape, 4, generator=torch.Generator().manual_seed(0))
    stream[~real] = 1000.0
    rows = task.stream_rows(stream, real, 3.0, 1)
    assert len(rows.x) == int(real.sum())
    assert rows.x.norm(dim=1).mean() == pytest.approx(3.0, abs=1e-4)
    assert (rows.sample.bincount() == real.sum(1)).all()


def test_f_of_a_rotated_stream_is_that_of_the_stream(small):
    with torch.no_grad():
        stream = small.model.streams(small.task.tokens)[0][2]
    real = small.task.real
    turn = torch.linalg.qr(torch.randn(25, 25, generator=torch.Generator().manual_seed(2)))[0]
    length = stream[real].norm(dim=1).mean()
    tables = [
        pd.DataFrame(runs.read_all({1: task.stream_rows(x, real, length, 1)}, 25, 2_000))
        for x in (stream, 5 * stream @ turn)
    ]
    plain, turned = (t.set_index("reading").effective_features for t in tables)
    assert turned["main"] == pytest.approx(plain["main"], rel=0.1)
    assert plain["small λ"] != plain["main"]


def test_features_come_back_from_as_many_neurons(small):
    f = task.features("toy", 0.2, small, 500, 1)[:, :6]
    W = task.compress_features(f, 6, [1, 2], steps=1_500)
    assert torch.allclose(torch.relu(f @ W.mT @ W), f.expand(2, -1, -1), atol=0.05)


def test_toy_features_are_as_active_as_asked():
    x = task.features("toy", 0.1, compile_program("reverse"), 20_000, 1)
    assert set(x.unique().tolist()) == {0, 1}
    assert x.mean(0) == pytest.approx(torch.full((45,), 0.1), abs=0.01)
    assert torch.corrcoef(x.T).fill_diagonal_(0).abs().max() < 0.05


def test_a_shuffled_control_keeps_each_feature():
    compiled = compile_program("reverse")
    x = task.features("compiled", None, compiled, 5_000, 1)
    shuffled = task.features("shuffled", None, compiled, 5_000, 1)
    assert torch.allclose(x.mean(0), shuffled.mean(0), atol=1e-6)
    assert len(shuffled.round().unique(dim=0)) > 2 * len(x.round().unique(dim=0))


def test_a_run_gives_a_row_a_network_layer_and_reading(tmp_path):
    run = runs.Network(
        route="compressed", program="sort_unique", n_neurons=20, seed=5, n_networks=2, steps=1_500, sae_steps=200
    )
    rows = pd.DataFrame(runs.network_run(run, keep=str(tmp_path)))
    assert len(rows) == 2 * 3 * 3
    assert set(rows.network) == {5, 6}
    assert (rows.n_neurons == 20).all()
    alone = pd.DataFrame(runs.network_run(run.but(seed=6, n_networks=1)))
    second = rows[rows.network == 6]
    assert second.psi_frobenius.iloc[0] == pytest.approx(alone.psi_frobenius.iloc[0], rel=1e-3)
    assert second.psi_frobenius.iloc[0] != rows[rows.network == 5].psi_frobenius.iloc[0]
    assert rows[rows.reading == "4 N codes"].n_codes.unique().tolist() == [80]
    assert rows[rows.reading == "main"].n_codes.unique().tolist() == [100]
    assert rows.effective_features.between(1, 100).all()
    W = load_file(tmp_path / "sort_unique_20.safetensors")["W"]
    small = compile_program("sort_unique")
    right = programs.share_right(task.compressed(small, W)(small.task.tokens), small.task)[1]
    assert float(right) == pytest.approx(float(rows.sequences.max()))


def test_a_kept_network_is_read_by_the_published_recipe(tmp_path):
    save_file({"W": torch.eye(25)}, tmp_path / "sort_unique_25.safetensors")
    rows = pd.DataFrame(runs.published_run(runs.Published("sort_unique", 25, sae_seed=3, epochs=5), tmp_path))
    assert list(rows.layer) == [0, 1, 2]
    assert rows.sequences.tolist() == [1, 1, 1]
    assert rows.n_codes.tolist() == [100] * 3
    with pytest.raises(FileNotFoundError, match="to 24 neurons"):
        runs.published_run(runs.Published("sort_unique", 24, sae_seed=3, epochs=5), tmp_path)


def test_runs_of_other_kinds():
    few = {"seed": 1, "n_networks": 1, "sae_steps": 100}
    scratch = runs.Network(route="scratch", program="sort_unique", n_neurons=3, steps=5, **few)
    scratch = pd.DataFrame(runs.network_run(scratch))
    assert scratch.psi_frobenius.isna().all()
    assert len(scratch) == 9
    control = runs.Control(kind="toy", activity=0.05, n_neurons=8, steps=50, **few)
    control = pd.DataFrame(runs.control_run(control))
    assert list(control.reading) == list(runs.READINGS)
    assert control.right.between(0, 1).all()
    program = pd.DataFrame(runs.program_run(runs.Program("sort_unique")))
    assert program.difference.max() < 1e-5
    assert list(program.layer) == [0, 1, 2]
    assert program.truth.iloc[0] == pytest.approx(embedding_truth(), rel=1e-4)
    assert program["on"].iloc[0] == pytest.approx(
        3 - 325 / small_rows(), abs=1e-3
    )  # token, one, index; no index at BOS


def embedding_truth():
    """Perplexity of the coordinates that the embedding sets, counted in plain Python: one, the token, the place."""
    counts = Counter()
    for row in compile_program("sort_unique").task.tokens.tolist():
        said = ["BOS", *words(compile_program("sort_unique").task, row)]
        counts.update(["one"] * len(said))
        counts.update(f"token {t}" for t in said)
        counts.update(f"place {i}" for i in range(1, len(said)))
    total = sum(counts.values())
    return math.exp(-sum(c / total * math.log(c / total) for c in counts.values()))


def small_rows():
    return int(compile_program("sort_unique").task.real.sum())


NETWORK = {"route": "scratch", "program": "sort_unique", "n_neurons": 4, "steps": 1}
CONTROL = {"kind": "toy", "activity": 0.1, "n_neurons": 4, "steps": 1}


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (runs.Network, NETWORK | {"route": "copied"}, "route must be 'compressed' or 'scratch', got 'copied'"),
        (runs.Network, NETWORK | {"n_neurons": 0}, "n_neurons must be greater than or equal to 1"),
        (runs.Control, CONTROL | {"activity": None}, "activity must be given"),
        (runs.Control, CONTROL | {"activity": 1.5}, "activity must be less than 1"),
        (runs.Control, CONTROL | {"kind": "shuffled"}, "only there"),
        (runs.Control, CONTROL | {"kind": "other"}, "kind must be 'toy', 'compiled' or 'shuffled'"),
    ],
)
def test_bad_settings_are_named(make, values, message):
    with pytest.raises(ValueError, match=message):
        make(**values, seed=0, n_networks=1, sae_steps=1)


def test_a_matrix_of_another_width_is_named(small):
    with pytest.raises(ValueError, match="25"):
        task.compressed(small, torch.zeros(4, 24))


def test_a_grid_is_its_parts_one_after_another():
    parts = {"program": "sort", "n_neurons": [4, 2]}, {"program": "reverse", "n_neurons": 3}
    made = runs.grid(runs.Published, *parts, sae_seed=[1, 2], epochs=5)
    assert [(one.program, one.n_neurons, one.sae_seed) for one in made] == [
        ("sort", 4, 1), ("sort", 4, 2), ("sort", 2, 1), ("sort", 2, 2), ("reverse", 3, 1), ("reverse", 3, 2)
    ]  # fmt: skip


# made-up rows, by route and N: share of sequences that starts 1, 2, 3 answer right, and ψ of start 1 (of the next 0.1 more)
STARTS = {
    ("compressed", 6): ((1, 1, 1), 1.0),
    ("compressed", 4): ((1, 1, 0.5), 2.0),
    ("compressed", 3): ((0.5, 1, 0.5), 3.0),
    ("compressed", 2): ((0.5, 0.5, 0.5), 4.0),
    ("scratch", 6): ((1, 1, 1), 0.5),
}


@pytest.fixture
def rows(tmp_path):
    """Results files of two layers; F of layer 1 is 2 above that of the embedding."""
    tables = {name: [] for name in ("algorithms", "algorithms_published", "algorithms_programs", "algorithms_control")}
    for program in ("reverse", "sort"):
        for ((route, n), (shares, psi)), steps in itertools.product(STARTS.items(), (0, 9)):
            for network, right in enumerate(shares, 1):
                own = {"route": route, "program": program, "n_neurons": n, "steps": steps, "network": network}
                own |= {"sequences": right, "tokens": right, "psi_frobenius": 2.0, "fvu": 0.0, "l0": 1.0, "dead": 0.0}
                table = tables["algorithms"] if steps or route == "scratch" else []
                table += [own | reading | columns(layer, n, psi + 0.1 * (network - 1)) for reading, layer in READ]
        for n, right, k in ((6, 1, 1), (6, 1, 2), (4, 1, 1), (4, 1, 2), (3, 0.5, 1), (3, 0.5, 2)):
            own = {"program": program, "n_neurons": n, "sae_seed": k, "sequences": right, "tokens": 1.0}
            tables["algorithms_published"] += [own | columns(layer, n, 1 + k / n) for layer in (0, 1)]
        for layer in (0, 1):
            own = {
                "program": program,
                "layer": layer,
                "n_neurons": 6,
                "n_read": 5,
                "n_sequences": 9,
                "difference": 1e-7,
            }
            own |= {
                "sequences": 1,
                "truth": 3.0 + 6 * layer,
                "used": 4,
                "rank": 3,
                "states": 8,
                "on": 2,
                "activity": 0.5,
            }
            tables["algorithms_programs"].append(own)
    for k in (1, 2):
        own = {
            "kind": "toy",
            "activity": 0.02,
            "n_neurons": 15,
            "network": k,
            "reading": "main",
            "right": 1.0,
            "fvu": 0,
        }
        tables["algorithms_control"].append(own | columns(0, 15, 2.0 + k / 10))
    for name, table in tables.items():
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
    return Rows(tmp_path)


READ = [({"reading": name}, layer) for name in runs.READINGS for layer in (0, 1)]


def columns(layer, n, psi):
    """What is read of a layer: ψ, mean over the two, is `psi`."""
    F = n * psi + 2 * layer - 1
    return {"layer": layer, "effective_features": F, "psi": F / n, "half_way": F / 1.5}


def test_a_start_that_fails_where_a_smaller_size_is_solved_failed_in_its_optimisation(rows):
    table = analysis.solved(rows).loc[("reverse", "compressed")]
    assert table.index.tolist() == [6, 4, 3, 2]
    assert table.solved.tolist() == [3, 2, 1, 0]
    assert table.optimisation.tolist() == [0, 1, 2, 0]
    assert table["no solution found"].tolist() == [0, 0, 0, 3]
    assert table.gap.tolist() == pytest.approx([0, 1 / 6, 1 / 3, 0])


def test_accuracy_is_that_of_the_best_start_and_of_the_mean(rows):
    table = analysis.accuracy(rows).query("program == 'sort' and way == 'compressed' and n_neurons == 4")
    mean, best = (table[table["of"] == name].iloc[0] for name in ("mean", "best start"))
    assert (best.sequences, best.low, best["count"], best.line) == (1, 1, 3, "compressed, best start")
    assert mean.sequences == pytest.approx(5 / 6)
    assert 0 < mean.low < mean.sequences < mean.high == 1


def test_the_largest_solved_setting_needs_three_starts(rows):
    own = analysis.largest_solved(rows).query("program == 'reverse' and reading == 'main'")
    assert own[["way", "n_neurons"]].drop_duplicates().to_numpy().tolist() == [["compressed", 6]]
    assert own.psi.tolist() == pytest.approx([1.0, 1.1, 1.2])
    assert own["last"].tolist() == pytest.approx([1 + 1 / 6, 1.1 + 1 / 6, 1.2 + 1 / 6])
    small = analysis.smallest_solved(rows)
    assert set(small.n_neurons) == {4}
    assert small.psi.tolist() == pytest.approx([1.25, 1.5] * 2)


def test_the_table_of_the_largest_holds_every_reading(rows):
    table = analysis.largest(rows).loc["sort"]
    assert table.index.tolist() == [*runs.READINGS, analysis.RECIPE]
    assert table.starts.tolist() == [3, 3, 3, 1]
    assert table["truth / N"].tolist() == pytest.approx([1, 1, 1, 1.5])
    assert table.psi.tolist() == pytest.approx([1.1, 1.1, 1.1, 1.375])


def test_f_by_layer_and_by_reading_stand_beside_f_of_the_neurons(rows):
    by_layer = analysis.by_layer(rows).query("which == 'reverse, compressed'")
    by_layer = by_layer.set_index(["of", "n_neurons"]).sort_index()
    assert by_layer.effective_features["layer 1", 6] == pytest.approx(6 * 1.1 + 1)
    assert by_layer.effective_features["embedding", 6] == pytest.approx(6 * 1.1 - 1)
    assert by_layer.effective_features["F = N"].to_dict() == {2: 2, 3: 3, 4: 4, 6: 6}
    assert by_layer.failed["layer 1"].to_dict() == {2: True, 3: True, 4: True, 6: False}
    assert not by_layer.failed["F = N"].any()
    by_reading = analysis.by_reading(rows).query("which == 'sort, compressed'")
    by_reading = by_reading.set_index(["reading", "n_neurons"]).sort_index()
    assert by_reading.effective_features["main", 4] == pytest.approx(4 * 2.1)
    assert by_reading.effective_features[analysis.RECIPE, 4] == pytest.approx(4 * 1.375)
    psi = analysis.superposition(rows).set_index(["program", "way", "n_neurons"]).sort_index()
    assert psi.psi["sort", "from scratch", 6] == pytest.approx(0.6)
    assert psi.failed["sort", "compressed"].to_dict() == {2: True, 3: True, 4: True, 6: False}


def test_untrained_networks_stand_only_where_they_are_asked_for(rows):
    assert set(analysis.networks(rows).way) == {"compressed", "from scratch"}
    table = analysis.untrained(rows)
    assert table.index.tolist() == [6]
    assert list(table.psi.columns) == ["from scratch", "untrained"]
    assert set(analysis.quality(rows).moved) == {0.5}


def test_the_native_size_is_that_of_the_program(rows):
    table = analysis.native(rows).loc["reverse"]
    assert table.main.tolist() == pytest.approx([6 * 1.1 - 1, 6 * 1.1 + 1])
    assert table.truth.tolist() == [3, 9]
    assert analysis.port(rows).loc["sort", ["M", "read", "sequences", "layers"]].tolist() == [6, 5, 9, 1]


def test_controls_are_named_by_how_often_they_are_on(rows):
    line = analysis.controls(rows).iloc[0]
    assert (line["of"], line.N, line["count"]) == ("toy, on 0.02", "N = 15", 2)
    assert line.psi == pytest.approx(2.15 - 1 / 15)
    assert analysis.survives(rows).right.loc["toy, on 0.02"].tolist() == [1]


def test_claims_say_what_made_up_rows_hold(rows):
    found = {claim.id.removeprefix("algorithms."): claim for claim in core.compute(claims.CLAIMS, rows)}
    assert found["port_exact"].word == "pass"
    assert found["n_break_reverse"].estimate.value == pytest.approx((4 + 3 + 6) / 3)
    assert found["n_break_reverse"].text.endswith("solves reverse, compressed (best 3)")
    assert found["n_break_sort"].word == ""
    assert found["n_break_reverse_scratch"].word == "agrees"
    assert found["f_level_reverse"].estimate.value == pytest.approx(6 * 1.1 - 1)
    assert found["f_last_reverse"].estimate.value == pytest.approx(6 * 1.1 + 1)
    assert found["f_level_sort_scratch"].estimate.value == pytest.approx(6 * 0.6)
    assert found["f_last_reverse_recipe"].estimate.value == pytest.approx(6 * (1 + 1.5 / 6) + 1)
    assert found["f_last_reverse_recipe"].estimate.unit == core.SAE_SEED
    assert found["psi_max_solved_sort"].estimate.value == pytest.approx(1.1)
    assert found["psi_max_solved_sort_recipe"].estimate.value == pytest.approx(1.375)
    assert found["sparse_control"].word == "pass"
    assert len(found) == 17


def test_what_a_kept_network_holds_is_told_cell_by_cell(rows):
    (rows.folder / "algorithms").mkdir()
    save_file({"W": torch.eye(45)[:6]}, rows.folder / "algorithms" / "reverse_06.safetensors")
    save_file({"W": torch.eye(45)}, rows.folder / "algorithms" / "reverse_45.safetensors")
    with pytest.raises(KeyError):  # no start of 45 neurons is among the rows
        analysis.streams(rows)
    (rows.folder / "algorithms" / "reverse_45.safetensors").unlink()
    cells, said = analysis.streams(rows, (3, 1))
    assert cells.groupby("panel", sort=False).size().tolist() == [3 * 6, 3 * 45, 3 * 45]
    compiled = compile_program("reverse")
    tokens = torch.tensor([[compiled.task.vocabulary.index(t) for t in ("BOS", 3, 1)]])
    held = cells[cells.panel == "the compiled stream"].pivot(index="position", columns="coordinate", values="value")
    assert held.to_numpy().sum() == pytest.approx(float(compiled.model.streams(tokens)[0][-1].sum()), abs=0.1)
    assert list(held.index) == ["0: BOS", "1: 3", "2: 1"]
    assert said.neurons.tolist() == [6]
    assert said.words[0].startswith("[3, 1]\n→ [")
    assert said.words[0].endswith("(it answers all sequences right)")


@pytest.mark.parametrize(
    ("psi", "known", "words"),
    [
        (
            1.3,
            [45.0, 67.0],
            ["it does:", "; but a control", "read right by 1 of 2 settings", "SAE, which read 45 [", " and 67 ["],
        ),
        (0.8, [30.0], ["it does not:", "; but a control", "read right by 0 of 1 settings"]),
        (1.0, [45.02], ["it is not sure whether it does:", "; and a control", "read right by 1 of 1 settings"]),
    ],
)
def test_the_answer_says_what_the_rows_say(psi, known, words, monkeypatch, rows):
    def estimate(value):
        return core.Estimate(value, value - 0.05, value + 0.05, "Student t, 95%", "network", 5)

    monkeypatch.setattr(claims, "solved_again", lambda rows, reading: (estimate(psi), "reverse", 12))
    monkeypatch.setattr(claims, "control_by_settings", lambda rows: [estimate(one) for one in known])
    answer = claims.answer(rows)
    assert all(word in answer.sentence for word in words), answer.sentence
    assert f"ψ = {psi:g} [" in answer.sentence
    assert answer.rests_on.startswith("5 compressed networks")


def test_the_control_is_read_by_each_setting_apart(tmp_path):
    lines = [
        {"kind": "toy", "activity": activity, "n_neurons": n, "reading": by, "n_codes": codes, "l1": l1, "network": k,
         "effective_features": F + k}
        for by, codes, l1, F in (("main", 180, 0.5, 60), ("small λ", 180, 0.1, 80), ("4 N codes", 60, 0.5, 40))
        for activity in (0.02, 0.1) for n in (8, 15) for k in (0, 1, 2)
    ]  # fmt: skip
    table = pd.DataFrame(lines)
    table.loc[(table.activity > 0.02) | (table.n_neurons < 15), "effective_features"] = 1_000.0
    table.to_csv(tmp_path / "algorithms_control.csv", index=False)
    assert [(one.value, one.n) for one in claims.control_by_settings(Rows(tmp_path))] == [(41, 3), (81, 3), (61, 3)]


def test_networks_that_were_read_again_are_those_that_answer_everything(tmp_path):
    lines = [
        {"reading": by, "program": "reverse", "n_neurons": 10, "network": k, "layer": layer, "sequences": 1 if k < 3 else 0.9,
         "effective_features": 10.0 * k + layer, "identified": by != "count"}
        for by in ("published", "count") for k in (1, 2, 3) for layer in (0, 2)
    ]  # fmt: skip
    pd.DataFrame(lines).to_csv(tmp_path / "algorithms_reread.csv", index=False)
    found = analysis.again(Rows(tmp_path))
    assert found[["reading", "psi", "count"]].to_numpy().tolist() == [["the paper's recipe", pytest.approx(1.6), 2]]
    estimate, program, n = claims.solved_again(Rows(tmp_path), "published")
    assert (estimate.value, program, n) == (pytest.approx(1.6), "reverse", 10)


def test_what_figures_say_is_computed(rows):
    table = analysis.superposition(rows)
    told = analysis.above_in_words(table)
    above = table[table.solved & (table.low > 1)].program.nunique()
    assert told.startswith(f"In {above} of 2 programs")
    assert analysis.above_in_words(table.assign(low=0.5)).startswith("In 0 of 2 programs")
    assert "reversing, 3 compressed" in analysis.smallest_in_words(rows)
    by_layer = analysis.by_layer(rows)
    assert "passes N at N = 6 (reversing)" in analysis.passes_in_words(by_layer)
    assert "stays at N or below" in analysis.passes_in_words(by_layer.assign(effective_features=0.1))
    assert analysis.controls_in_words(pd.DataFrame({"low": [0.9, 1.1]})).endswith("1 of 2 controls")
    words = pd.DataFrame({"neurons": [4, 6, 8], "share": [0.5, 1, 1]})
    assert analysis.best_in_words(words).startswith("Down to 6 neurons")
    assert analysis.best_in_words(words.assign(share=0.2)).startswith("No network")


def test_two_networks_have_no_interval_worth_drawing(rows):
    raw = rows["algorithms"]
    found, told = analysis.here(raw[raw.network < 3])
    assert "low" not in found
    assert told.endswith(f"{int(found.solved.sum())} of {len(found)} settings")
    assert "low" in analysis.here(raw)[0]
