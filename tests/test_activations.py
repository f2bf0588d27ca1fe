"""Reading layers: values against a plain forward pass, any order of names, rows from everywhere, errors in time."""

import memory
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from superpos import activations
from superpos.activations import Rows, read_activations, shuffle_columns


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))


def test_values_are_those_of_the_forward_pass_before_in_place_operations():
    model, x = network(), torch.randn(50, 4)
    rows = read_activations(model, x, ["0", "2"])
    for name, expected in (("0", model[0](x)), ("2", model(x))):
        torch.testing.assert_close(rows[name].x, expected.detach()[rows[name].sample])
    assert rows["0"].x.min() < 0  # the in-place ReLU came later


def test_names_in_any_order_give_the_same():
    model, x = network(), torch.randn(50, 4)
    forth, back = (read_activations(model, x, names) for names in (["0", "1", "2"], ["2", "0", "1"]))
    assert list(back) == ["2", "0", "1"]
    for name in forth:
        assert torch.equal(forth[name].x, back[name].x)


@pytest.mark.parametrize("wrap", ["tensor", "dataset", "pairs", "loader"])
def test_tensor_dataset_and_loader(wrap):
    model, x = network(), torch.randn(300, 4)
    pairs = TensorDataset(x, torch.zeros(300))
    source = {"tensor": x, "dataset": list(x), "pairs": pairs, "loader": DataLoader(pairs, batch_size=64)}[wrap]
    rows = read_activations(model, source, "1", n_samples=100)["1"]
    assert rows.x.shape == (100, 6)
    torch.testing.assert_close(rows.x, torch.relu(model[0](x)).detach()[rows.sample])


def test_positions_are_drawn_over_samples_and_space():
    """A map that holds its own coordinates tells where the rows came from."""
    images = torch.arange(400 * 64).float().view(400, 1, 8, 8)
    rows = read_activations(nn.Sequential(nn.Identity()), images, "0", n_samples=800, axis=1)["0"]
    assert rows.x.shape == (400 * 2, 1)
    position = rows.x[:, 0].long() % 64
    assert torch.equal(rows.x[:, 0].long() // 64, rows.sample)
    assert len(position.unique()) == 64
    assert len(rows.sample.unique()) > 300
    assert abs(position.float().mean() - 31.5) < 2.5


def test_channels_become_neurons_and_tokens_become_rows():
    images, tokens = torch.randn(5, 3, 2, 2), torch.randn(5, 7, 3)
    rows = read_activations(nn.Sequential(nn.Identity()), images, "0", axis=1)["0"]
    assert rows.x.shape == (20, 3)
    assert {tuple(r) for r in rows.x.tolist()} == {tuple(p.tolist()) for i in images for p in i.flatten(1).T}
    assert read_activations(nn.Sequential(nn.Identity()), tokens, "0")["0"].x.shape == (35, 3)


def test_the_model_is_read_in_evaluation_mode_and_put_back():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[1].eval()
    x = torch.randn(60, 4)
    rows = read_activations(model, x, "0")["0"]
    torch.testing.assert_close(rows.x, x[rows.sample])
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert model[1].num_batches_tracked == 0


def test_seed_decides_the_rows():
    model, x = network(), torch.randn(500, 4)
    a, b, c = (read_activations(model, x, "1", n_samples=50, seed=s)["1"].sample for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_held_out_rows_share_no_sample_with_those_fitted():
    rows = Rows(torch.arange(40.0)[:, None], torch.arange(10).repeat_interleave(4))
    fitted, read = rows.split(0.2)
    assert (len(fitted), len(read)) == (32, 8)
    assert not set((fitted // 4).flatten().tolist()) & set((read // 4).flatten().tolist())
    assert torch.equal(*rows.split(0))
    with pytest.raises(ValueError, match="too few to hold out"):
        Rows(torch.ones(1, 2), torch.zeros(1, dtype=torch.long)).split(0.5)


def test_a_language_model_and_its_padding():
    """Texts of unequal length: no padded token becomes a row, and rows equal those of each text alone."""
    nnsight = pytest.importorskip("nnsight")
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    words = {"[PAD]": 0, "a": 1, "b": 2, "c": 3}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[PAD]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", padding_side="right")
    torch.manual_seed(0)
    small = GPTNeoXConfig(vocab_size=4, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    model = nnsight.TransformersModel(GPTNeoXForCausalLM(small), task="text-generation", tokenizer=tokenizer)
    texts = ["a b c a", "b", "c a"]
    rows = read_activations(model, texts, "gpt_neox.layers.0.mlp")["gpt_neox.layers.0.mlp"]
    assert sorted(rows.sample.tolist()) == [0, 0, 0, 0, 1, 2, 2]
    alone = read_activations(model, ["b", "b"], "gpt_neox.layers.0.mlp")["gpt_neox.layers.0.mlp"]
    torch.testing.assert_close(rows.x[rows.sample == 1][0], alone.x[0], rtol=1e-4, atol=1e-5)
    loader = DataLoader(texts, batch_size=2)
    tokens = tokenizer(texts, return_tensors="pt", padding=True)
    batches = [{name: tokens[name][i] for name in ("input_ids", "attention_mask")} for i in range(3)]
    for source in (loader, DataLoader(batches, batch_size=3)):
        again = read_activations(model, source, "gpt_neox.layers.0.mlp")["gpt_neox.layers.0.mlp"]
        assert sorted(again.sample.tolist()) == [0, 0, 0, 0, 1, 2, 2]
        torch.testing.assert_close(again.x[again.sample == 1][0], alone.x[0], rtol=1e-4, atol=1e-5)


def test_shuffled_columns_keep_values_and_break_pairs():
    x = torch.arange(200.0).view(100, 2)
    y = shuffle_columns(x, seed=0)
    assert torch.equal(y.sort(0).values, x)
    assert not torch.equal(y[:, 1] - y[:, 0], torch.ones(100))


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused, self.scalar = nn.Linear(4, 2), nn.Linear(4, 2), nn.Flatten(0)

    def forward(self, x):
        return self.scalar(self.used(x))


@pytest.mark.parametrize(
    ("layers", "data", "message"),
    [
        ("nine", torch.ones(9, 4), "unknown layer 'nine'; the model has used, unused, scalar"),
        ([], torch.ones(9, 4), "no layer"),
        ("unused", torch.ones(9, 4), "'unused' is never called"),
        ("scalar", torch.ones(9, 4), r"'scalar' gave shape \(18,\) for 9 samples"),
        ("used", torch.ones(0, 4), "data is empty"),
    ],
)
def test_errors_name_what_is_wrong(layers, data, message):
    with pytest.raises(ValueError, match=message):
        read_activations(Skips(), data, layers)


def test_a_model_of_an_unknown_kind():
    with pytest.raises(TypeError, match="nnsight model, got str"):
        read_activations("resnet18", torch.ones(9, 4), "used")


def test_data_of_an_unknown_kind():
    with pytest.raises(TypeError, match="got int"):
        read_activations(Skips(), 3, "used")


def test_rows_in_a_file_are_the_rows_in_memory(monkeypatch):
    """Past the limit rows lie in a mapped file; which rows, and the split, stay the same."""
    model, images = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()), torch.rand(40, 1, 8, 8)
    here = read_activations(model, images, ["0", "1"], n_samples=500, batch_size=8, seed=3)
    monkeypatch.setattr(activations, "IN_MEMORY", 0)
    monkeypatch.setattr(activations, "PIECE", 64)
    there = read_activations(model, images, ["0", "1"], n_samples=500, batch_size=8, seed=3)
    for name in here:
        order = [list(zip(rows.sample.tolist(), rows.x.tolist(), strict=True)) for rows in (here[name], there[name])]
        assert sorted(order[0]) == sorted(order[1])
        for one, other in zip(here[name].split(0.3, seed=1), there[name].split(0.3, seed=1), strict=True):
            assert sorted(one.tolist()) == sorted(other.tolist())


def test_a_layer_that_gives_one_row_for_every_batch_is_named():
    """With one sample it looks like any other: the position embedding of a language model does this."""

    class Positions(nn.Module):
        def forward(self, x):
            return torch.zeros(1, 3, 4)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.positions = Positions()

        def forward(self, x):
            return x[:, None] + self.positions(x)

    with pytest.raises(Exception, match=r"gave shape \(1, 3, 4\) for 16 samples"):
        read_activations(Model(), torch.randn(50, 4), "positions", batch_size=16)


def test_more_rows_asked_for_than_there_are():
    rows = read_activations(nn.Sequential(nn.Identity()), torch.randn(30, 4), "0", n_samples=10**12, batch_size=7)["0"]
    assert rows.x.shape == (30, 4)
    assert rows.sample.sort().values.tolist() == list(range(30))


def test_a_large_measurement_stays_small_in_memory():
    """200,000 rows of 256 neurons are 195 MiB; past a limit of 16 MiB they must not be held."""
    before = """
import torch
from superpos import activations, descent, measure, PROTOCOL
model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.ReLU())
measure(model, torch.randn(2_000, 8), "1", sae=PROTOCOL.but(steps=20))  # what the libraries themselves take
activations.IN_MEMORY = descent.IN_MEMORY = 2**24
"""
    measured = 'measure(model, torch.randn(200_000, 8), "1", n_samples=200_000, sae=PROTOCOL.but(steps=20))'
    assert any(memory.growth(before, measured, []) < 150 for _ in range(2))  # beside other work a process may hold more
