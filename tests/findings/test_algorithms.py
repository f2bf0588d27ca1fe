import itertools
import math
from collections import Counter

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from superpos.activations import read_activations
from superpos.systems import algorithms, programs
from superpos.systems.programs import compile_program

ALL = list(programs.PROGRAMS)


@pytest.fixture(scope="module")
def small():
    """The quickest program: 25 coordinates, two layers, 325 sequences."""
    return compile_program("sort_unique")


def words(task, row):
    return [task.vocabulary[t] for t in row[1:] if t != task.pad]


def answers(task, row):
    return [task.outputs[a] for a in row if a >= 0]


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
    task = compile_program(name).task
    for tokens, wanted in zip(task.tokens.tolist(), task.answers.tolist(), strict=True):
        assert answers(task, wanted) == expected(words(task, tokens))


def test_the_answers_to_parentheses():
    def balanced(s):
        depths = list(itertools.accumulate(1 if t == "(" else -1 for t in s))
        return min(depths) >= 0 and depths[-1] == 0

    task = compile_program("parentheses").task
    for tokens, wanted in zip(task.tokens.tolist(), task.answers.tolist(), strict=True):
        assert set(answers(task, wanted)) == {balanced(words(task, tokens))}


def test_sizes_of_the_tasks():
    sizes = {name: (c.n_neurons, len(c.task), c.shape[0]) for name in ALL[:3] for c in [compile_program(name)]}
    assert sizes == {"reverse": (45, 3905, 4), "sort": (50, 3905, 3), "sort_unique": (25, 325, 2)}


def test_padding_is_not_seen(small):
    row = (small.task.real.sum(1) == 3).nonzero()[0]
    padded, cut = small.task.tokens[row], small.task.tokens[row, :3]
    assert torch.allclose(small.model(padded)[:, :3], small.model(cut), atol=1e-6)


def test_share_right_of_known_logits():
    task = programs.Task(
        torch.tensor([[0, 1, 1], [0, 1, 2]]), torch.tensor([[-1, 0, 1], [-1, 0, -1]]), ("BOS", "a", "PAD"), (7, 8)
    )
    always_first = torch.tensor([1.0, 0.0]).expand(2, 3, 2)
    tokens, sequences = programs.share_right(always_first, task)
    assert tokens == pytest.approx(2 / 3)
    assert sequences == 0.5
    broken = always_first.clone()
    broken[1, 1] = torch.nan
    assert programs.share_right(broken, task)[1] == 0


def test_numbers_as_answers(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from tracr.compiler import lib\nfrom tracr.rasp import rasp\n"
        "def share_of_twos():\n    return lib.make_frac_prevs(rasp.tokens == 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    compiled = compile_program("mine:share_of_twos", vocabulary=(1, 2), length=3)
    task = compiled.task
    assert len(task) == 14
    assert task.outputs == ()
    whole = [words(task, row) for row in task.tokens.tolist()].index([2, 1, 2])
    assert task.answers[whole, 1:].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert programs.share_right(compiled.model(task.tokens), task)[1] == 1
    with pytest.raises(ValueError, match="answers with numbers"):
        algorithms.compress(compiled, 4, [0])
    with pytest.raises(ValueError, match="answers with numbers"):
        algorithms.train_from_scratch(compiled, 4, [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "revers"}, "unknown program 'revers'"),
        ({"name": "no_such_module:f"}, "no program"),
        ({"name": "math:sqrt2"}, "no program"),
        ({"name": "sys:version"}, "gave a str"),
        ({"name": "reverse", "length": 0}, "length of at least 1"),
        ({"name": "reverse", "vocabulary": ("BOS", "a")}, "other than BOS"),
        ({"name": "reverse", "vocabulary": tuple(range(20)), "length": 5}, "say how many"),
    ],
)
def test_bad_programs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        compile_program(**arguments)


def test_sequences_are_drawn_where_there_are_too_many():
    drawn = programs._sequences(tuple(range(20)), 5, False, 50, 3)
    assert len(set(drawn)) == 50
    assert drawn == programs._sequences(tuple(range(20)), 5, False, 50, 3)
    assert drawn != programs._sequences(tuple(range(20)), 5, False, 50, 4)
    assert {len(s) for s in drawn} == {1, 2, 3, 4, 5}


def test_nnsight_reads_the_stream(small):
    streams, _ = small.model.streams(small.task.tokens)
    read = read_activations(small.model, small.task.tokens, ["residual.0", "residual.2"], n_samples=10_000)
    for name, stream in (("residual.0", streams[0]), ("residual.2", streams[2])):
        x = read[name].x
        assert x.shape == (325 * 6, 25)
        assert torch.allclose(x.double().sum(0), stream.reshape(-1, 25).double().sum(0), atol=1e-3)


def test_no_compression_changes_nothing(small):
    model = algorithms.compressed(small, torch.eye(25))
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
    model = algorithms.compressed(small, W)
    assert torch.allclose(model.streams(tokens)[0][1], r, atol=1e-4)
    stack = algorithms.compressed(small, torch.stack([torch.zeros_like(W), W])).streams(tokens)[0][1]
    assert torch.allclose(stack[1], r, atol=1e-4)


def test_only_w_learns(small):
    model = algorithms.compressed(small, torch.eye(25))
    model(small.task.tokens[:9]).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["stream.W"]
    assert model.stream.W.grad.abs().sum() > 0
    assert all(p.grad is None for name, p in model.named_parameters() if name != "stream.W")


def test_a_solution_is_one_in_more_neurons(small):
    W = torch.randn(5, 25, generator=torch.Generator().manual_seed(0))
    wider = torch.cat([W, torch.zeros(2, 25)])
    a, b = (algorithms.compressed(small, w)(small.task.tokens) for w in (W, wider))
    assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("name", ["sort_unique", "reverse"])
def test_blocks_cut_to_size_do_what_the_whole_ones_do(name):
    compiled = compile_program(name)
    task = compiled.task
    blocks = algorithms._blocks(compiled)
    everything = torch.arange(len(task))
    for block in blocks:
        x = block.states[None][:, :, block.reads]
        assert block.loss(x, everything, task.real).item() < 1e-9
        assert block.loss(0 * x, everything, task.real).item() > 1e-3
    assert len(blocks) == {"sort_unique": 4, "reverse": 6}[name]


def test_compression_solves_what_is_wide_enough_and_leaves_the_rest_alone(small):
    before = {name: p.clone() for name, p in small.model.state_dict().items()}
    wide = algorithms.compress(small, 20, [5, 6], read_steps=2_000, block_steps=100)
    assert wide.sequences.tolist() == [1, 1]
    again = programs.share_right(algorithms.compressed(small, wide.W[1])(small.task.tokens), small.task)
    assert again[1] == wide.sequences[1]
    assert wide.streams[0].shape == (2, 325, 6, 20)
    narrow = algorithms.compress(small, 2, [5, 6], read_steps=500, block_steps=100)
    assert narrow.sequences.max() < 0.5
    assert all(torch.equal(before[name], p) for name, p in small.model.state_dict().items())


def test_of_the_two_phases_the_better_end_is_kept(small):
    trained = algorithms.compress(small, 9, [1, 2, 3, 4], read_steps=600, block_steps=200)
    assert (trained.sequences >= trained.after_reads).all()
    assert (trained.sequences > trained.after_reads).any()


def test_a_start_does_not_depend_on_its_neighbours(small):
    alone = algorithms.compress(small, 12, [6], read_steps=30, block_steps=0).W[0]
    stacked = algorithms.compress(small, 12, [5, 6], read_steps=30, block_steps=0).W[1]
    assert torch.allclose(alone, stacked, atol=1e-4)


def test_training_from_scratch_is_torchs_own(small):
    """Three steps of a stack beside three of one network alone, in torch's plain way."""
    steps, task = 3, small.task
    stack = algorithms.train_from_scratch(small, 6, [3, 4], steps=steps)
    draw = algorithms._batches(task, algorithms.LENGTH["scratch"], 3)
    model = algorithms._untrained(small, 6, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = draw()
        tokens, answers, asked = task.tokens[chosen], task.answers[chosen], task.asked[chosen]
        loss = torch.nn.functional.cross_entropy(model(tokens)[asked], answers[asked])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert torch.allclose(stack.streams[2][1], model.streams(task.tokens)[0][2], atol=1e-3)


def test_scratch_learns(small):
    trained = algorithms.train_from_scratch(small, 12, [1], steps=400)
    assert trained.tokens.item() > 0.9


def test_networks_and_saes_start_from_different_numbers(small):
    network = algorithms._untrained(small, 16, 5).token.weight
    rows = torch.randn(100, 16, generator=torch.Generator().manual_seed(5))  # the SAE's first weights
    unit = torch.nn.functional.normalize
    assert (unit(network) @ unit(rows).T).abs().max() < 0.95
    fit = algorithms.sae.fit(
        rows, algorithms.sae.PROTOCOL.but(scale="none", n_codes=100, l1=0.0, steps=1, lr=1e-9), seed=5
    )
    assert torch.allclose(unit(rows), fit.dictionary, atol=1e-3)


def test_a_stream_with_negative_values_cannot_be_compressed():
    with pytest.raises(ValueError, match="down to -1"):
        algorithms.compress(compile_program("parentheses"), 38, [0])


def test_rows_are_the_real_positions_at_the_length_asked_for(small):
    real = small.task.real
    stream = torch.randn(*real.shape, 4, generator=torch.Generator().manual_seed(0))
    stream[~real] = 1000.0
    rows = algorithms._rows(stream, real, 3.0, 1)
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
        pd.DataFrame(algorithms._read_all([algorithms._rows(x, real, length, 1)], [1], 25, 2_000))
        for x in (stream, 5 * stream @ turn)
    ]
    plain, turned = (t.set_index("reading").effective_features for t in tables)
    assert turned["main"] == pytest.approx(plain["main"], rel=0.1)
    assert plain["small λ"] != plain["main"]


def test_features_come_back_from_as_many_neurons():
    f = algorithms.toy_features(0.2, 6, 500, 1)
    W = algorithms.compress_features(f, 6, [1, 2], steps=1_500)
    assert torch.allclose(torch.relu(f @ W.mT @ W), f.expand(2, -1, -1), atol=0.05)


def test_toy_features_are_as_active_as_asked():
    x = algorithms.toy_features(0.1, 45, 20_000, 1)
    assert set(x.unique().tolist()) == {0, 1}
    assert x.mean(0) == pytest.approx(torch.full((45,), 0.1), abs=0.01)
    assert torch.corrcoef(x.T).fill_diagonal_(0).abs().max() < 0.05
    with pytest.raises(ValueError, match=r"got 1\.5"):
        algorithms.toy_features(1.5, 4, 10, 0)


def test_a_shuffled_control_keeps_each_feature(small):
    compiled = compile_program("reverse")
    x = algorithms._features("compiled", None, compiled, 5_000, 1)
    shuffled = algorithms._features("shuffled", None, compiled, 5_000, 1)
    assert torch.allclose(x.mean(0), shuffled.mean(0), atol=1e-6)
    assert len(shuffled.round().unique(dim=0)) > 2 * len(x.round().unique(dim=0))


def test_a_run_gives_a_row_a_network_layer_and_reading(tmp_path):
    rows = pd.DataFrame(
        algorithms.network_run("compressed", "sort_unique", 20, 5, 2, 1_500, 0, 200, keep=str(tmp_path))
    )
    assert len(rows) == 2 * 3 * 3
    assert set(rows.network) == {5, 6}
    assert (rows.n_neurons == 20).all()
    alone = pd.DataFrame(algorithms.network_run("compressed", "sort_unique", 20, 6, 1, 1_500, 0, 200))
    second = rows[rows.network == 6]
    assert second.psi_frobenius.iloc[0] == pytest.approx(alone.psi_frobenius.iloc[0], rel=1e-3)
    assert second.psi_frobenius.iloc[0] != rows[rows.network == 5].psi_frobenius.iloc[0]
    assert rows[rows.reading == "4 N codes"].n_codes.unique().tolist() == [80]
    assert rows[rows.reading == "main"].n_codes.unique().tolist() == [100]
    assert rows.effective_features.between(1, 100).all()
    W = load_file(tmp_path / "sort_unique_20.safetensors")["W"]
    small = compile_program("sort_unique")
    right = programs.share_right(algorithms.compressed(small, W)(small.task.tokens), small.task)[1]
    assert float(right) == pytest.approx(float(rows.sequences.max()))


def test_a_kept_network_is_read_by_the_published_recipe(tmp_path):
    save_file({"W": torch.eye(25)}, tmp_path / "sort_unique_25.safetensors")
    rows = pd.DataFrame(algorithms.published_run("sort_unique", 25, 3, 5, tmp_path))
    assert list(rows.layer) == [0, 1, 2]
    assert rows.sequences.tolist() == [1, 1, 1]
    assert rows.n_codes.tolist() == [100] * 3
    with pytest.raises(FileNotFoundError, match="to 24 neurons"):
        algorithms.published_run("sort_unique", 24, 3, 5, tmp_path)


def test_runs_of_other_kinds():
    scratch = pd.DataFrame(algorithms.network_run("scratch", "sort_unique", 3, 1, 1, 5, 0, 100))
    assert scratch.psi_frobenius.isna().all()
    assert len(scratch) == 9
    control = pd.DataFrame(algorithms.control_run("toy", 0.05, 8, 1, 1, 50, 100))
    assert list(control.reading) == list(algorithms.READINGS)
    assert control.right.between(0, 1).all()
    program = pd.DataFrame(algorithms.program_run("sort_unique"))
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: algorithms.network_run("copied", "sort", 4, 0, 1, 1, 1, 1), "unknown route 'copied'"),
        (lambda: algorithms.network_run("scratch", "sort_unique", 0, 0, 1, 1, 1, 1), "n_neurons must be at least 1"),
        (lambda: algorithms.control_run("toy", None, 4, 0, 1, 1, 1), "activity must be given"),
        (lambda: algorithms.control_run("shuffled", 0.1, 4, 0, 1, 1, 1), "only there"),
        (lambda: algorithms.control_run("other", None, 4, 0, 1, 1, 1), "unknown control"),
        (lambda: algorithms.compressed(compile_program("sort_unique"), torch.zeros(4, 24)), "25"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
