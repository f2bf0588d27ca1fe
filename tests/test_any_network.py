"""Whatever people bring: rows against those that a hand-written hook copies, or an error that names what is wrong."""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from superpos.activations import read_activations


def by_hand(model, module, *args, call=1, **kwargs):
    """What a module gives in one of its calls, by the plainest hook there is."""
    seen = []
    hook = module.register_forward_hook(
        lambda m, i, o: seen.append((o[0] if isinstance(o, tuple) else o).detach().clone())
    )
    training = model.training
    with torch.no_grad():
        model.eval()(*args, **kwargs)
    model.train(training)
    hook.remove()
    return seen[call - 1]


def same_rows(rows, x):
    """Rows in any order are those of x (samples, positions, N), each under its sample and position."""
    x = x.reshape(len(x), -1, x.shape[-1]).float()
    assert rows.x.shape == (x.shape[0] * x.shape[1], x.shape[2])
    assert len(set(zip(rows.sample.tolist(), rows.position.tolist(), strict=True))) == len(rows.x)
    torch.testing.assert_close(rows.x, x[rows.sample, rows.position], rtol=1e-5, atol=1e-6)


def read(model, data, layer, **how):
    return read_activations(model, data, layer, n_samples=100_000, **how)[layer]


plainly = inspect.unwrap  # without the types that tests check beside


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Net(nn.Module):
    """Modules by name, and what a forward pass does with them."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.does = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.does(self, x)


# --- which axis holds the neurons


def heads(order):
    def forward(self, x):
        q = self.q(x).view(*x.shape[:2], 3, 4)
        return self.z(q if order == "tokens first" else q.transpose(1, 2)).sum((-1, -2))

    return Net(forward, q=nn.Linear(8, 12), z=nn.Identity())


SEQUENCE = nn.Sequential(nn.Conv1d(3, 16, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(16, 5, 3))
LAYOUTS = {
    "conv1d": (SEQUENCE, (7, 3, 50), "0", (0, 2, 1)),
    "relu after conv1d": (SEQUENCE, (7, 3, 50), "1", (0, 2, 1)),
    "pool after conv1d": (SEQUENCE, (7, 3, 50), "2", (0, 2, 1)),
    "conv2d as many channels as pixels": (
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU()),
        (5, 1, 8, 8),
        "1",
        (0, 2, 3, 1),
    ),
    "conv3d": (nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)), (5, 1, 6, 6, 6), "1", (0, 2, 3, 4, 1)),
    "linear on tokens": (nn.Sequential(nn.Linear(4, 9), nn.GELU()), (6, 11, 4), "1", (0, 1, 2)),
    "linear on maps, channels last": (nn.Sequential(nn.Linear(4, 9), nn.GELU()), (6, 5, 5, 4), "1", (0, 1, 2, 3)),
    "embedding": (nn.Sequential(nn.Embedding(10, 6)), "ids", "0", (0, 1, 2)),
    "plain vectors": (nn.Sequential(nn.Tanh()), (20, 7), "0", (0, 1)),
    "tokens without a known kind": (nn.Sequential(nn.Tanh()), (6, 5, 7), "0", (0, 1, 2)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_axis_of_neurons(name):
    model, shape, layer, order = LAYOUTS[name]
    x = torch.randint(10, (6, 5)) if shape == "ids" else torch.randn(*shape)
    rows = read(model, x, layer)
    same_rows(rows, by_hand(model, model.get_submodule(layer), x).permute(order))
    assert rows.axis == str(order[-1])
    assert rows.rows_per_sample == len(rows.x) / len(x)


@pytest.mark.parametrize(("order", "axis"), [("tokens first", "2,3"), ("heads first", "1,3")])
def test_heads_and_their_neurons_are_joined(order, axis):
    model, x = heads(order), torch.randn(5, 7, 8)
    rows = read(model, x, "z")
    assert rows.axis == axis
    same_rows(rows, by_hand(model, model.q, x))


def test_squeeze_and_excitation_keeps_channels():
    """The last linear layer gave vectors, not maps: what it says of its width is not said of the map."""

    def forward(self, x):
        x = self.conv(x)
        return self.out(x * self.gate(x.mean((2, 3)))[:, :, None, None])

    model = Net(forward, conv=nn.Conv2d(1, 6, 3), gate=nn.Linear(6, 6), out=nn.Identity())
    x = torch.randn(5, 1, 9, 9)
    same_rows(read(model, x, "out"), by_hand(model, model.out, x).permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match="cannot be told"):  # maps of 6 × 6: every axis is as wide as the layer
        read(model, torch.randn(5, 1, 8, 8), "out")


def test_concatenated_maps_keep_channels():
    """In a block; alone, a ReLU on maps of another width than any module gave cannot be told from others."""
    block = Net(lambda self, x: self.out(torch.cat([x, self.conv(x)], 1)), conv=nn.Conv2d(2, 3, 1), out=nn.ReLU())
    model, x = nn.Sequential(block), torch.randn(5, 2, 4, 4)
    same_rows(read(model, x, "0"), by_hand(model, block, x).permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match="cannot be told"):
        read(model, x, "0.out")


@pytest.mark.parametrize("shape", [(9, 1, 1, 8), (9, 3, 5, 8)])
def test_maps_of_no_known_kind_are_asked_about(shape):
    model, x = nn.Sequential(nn.Identity()), torch.randn(*shape)
    with pytest.raises(ValueError, match=r"layer '0' gave shape .* axis=1 for channels first, axis=-1"):
        read(model, x, "0")
    same_rows(read(model, x, "0", axis=-1), x)
    same_rows(read(model, x, "0", axis=1), x.permute(0, 2, 3, 1))
    same_rows(read(model, x, "0", axis={"0": (1, 3)}), x.permute(0, 2, 1, 3).flatten(2))


@pytest.mark.parametrize("axis", [0, 4, (1, 1), ()])
def test_an_axis_that_cannot_be_is_named(axis):
    with pytest.raises(ValueError, match=r"axis must be one or more of its other axes than 0, got"):
        read(nn.Sequential(nn.Identity()), torch.randn(9, 1, 1, 8), "0", axis=axis)
    with pytest.raises(ValueError, match="axis names 'one', which is none of the layers 0"):
        read(nn.Sequential(nn.Identity()), torch.randn(9, 8), "0", axis={"one": 1})


def test_channels_last_with_a_side_as_long_as_the_channels_is_asked_about():
    """A block that turns its maps by itself, whose sides are as long as it is wide: nothing tells them apart."""
    block = Net(lambda self, x: self.inner(x).permute(0, 3, 1, 2), inner=nn.Linear(4, 4))
    model, x = nn.Sequential(block), torch.randn(6, 4, 4, 4)
    with pytest.raises(ValueError, match="cannot be told"):
        read(model, x, "0")
    x = torch.randn(6, 5, 5, 4)
    same_rows(read(model, x, "0"), by_hand(model, block, x).permute(0, 2, 3, 1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_networks(kind, batch_first):
    def forward(self, x):
        x = self.rnn(x if batch_first else x.transpose(0, 1))[0]
        return self.out(x)

    model = Net(forward, rnn=kind(3, 5, batch_first=batch_first, bidirectional=True), out=nn.Linear(10, 2))
    x = torch.randn(6, 8, 3)
    for layer in ("rnn", "out"):
        seen = by_hand(model, model.get_submodule(layer), x)
        same_rows(read(model, x, layer), seen if batch_first else seen.transpose(0, 1))


def test_time_first_data_are_told_how():
    model = Net(lambda self, x: self.rnn(x)[0], rnn=nn.LSTM(3, 5))
    with pytest.raises(ValueError, match=r"'rnn' gave shape \(8, 6, 5\) for 8 samples. Its samples are on axis 1"):
        read(model, torch.randn(8, 6, 3), "rnn")


def test_packed_sequences_are_read_without_their_padding():
    lengths = torch.tensor([5, 2, 4])

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[0].data

    model, x = Net(forward, rnn=nn.GRU(3, 4)), torch.randn(3, 5, 3)
    rows = read(model, x, "rnn")
    assert sorted(rows.sample.tolist()) == [0] * 5 + [1] * 2 + [2] * 4
    for i, length in enumerate(lengths.tolist()):
        alone = model.rnn(x[i, :length, None])[0][:, 0].detach()
        mine = rows.x[rows.sample == i][rows.position[rows.sample == i].argsort()]
        torch.testing.assert_close(mine, alone)


def test_rows_of_flattened_tokens_keep_their_sample():
    model = Net(lambda self, x: self.out(x.reshape(-1, x.shape[-1])), out=nn.Linear(4, 6))
    x = torch.randn(5, 7, 4)
    rows = read(model, x, "out")
    assert rows.rows_per_sample == 7
    same_rows(rows, by_hand(model, model.out, x).view(5, 7, 6))


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_encoder_in_evaluation_mode(batch_first):
    """Its fused path never calls the layers inside."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    turned = (lambda x: x) if batch_first else (lambda x: x.transpose(0, 1))
    model = Net(lambda self, x: turned(self.encoder(turned(x))), encoder=encoder).eval()
    x, before = torch.randn(5, 7, 8), torch.backends.mha.get_fastpath_enabled()
    rows = read(model, x, "encoder.layers.0.linear1")
    assert torch.backends.mha.get_fastpath_enabled() == before
    first = encoder.layers[0].train()
    for dropout in (one for one in first.modules() if isinstance(one, nn.Dropout | nn.MultiheadAttention)):
        dropout.eval()
    with torch.no_grad():
        z = first.norm1(turned(x) + first.self_attn(turned(x), turned(x), turned(x), need_weights=False)[0])
        same_rows(rows, turned(first.linear1(z)))


# --- what a row is


class Dicts(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


class Tagger(nn.Module):
    """An embedding that looks at its neighbours, so that padding would change what it gives."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 6), nn.Linear(6, 4)

    def forward(self, input_ids, attention_mask=None):
        return self.out(self.embed(input_ids))


LENGTHS = (5, 2, 9, 1, 4)


def tokens():
    ids = [torch.randint(1, 20, (length,)) for length in LENGTHS]
    padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return ids, padded, torch.arange(9) < torch.tensor(LENGTHS)[:, None]


def ragged(kind):
    ids, padded, mask = tokens()
    dicts = [{"input_ids": i.tolist(), "attention_mask": [1] * len(i), "label": 1, "text": "t"} for i in ids]
    if kind == "datasets.Dataset":
        return ids, pytest.importorskip("datasets").Dataset.from_list(dicts)
    return ids, {
        "list of ids": [i.tolist() for i in ids],
        "list of tensors": ids,
        "list of dicts": dicts,
        "dicts without a mask": [{"input_ids": d["input_ids"]} for d in dicts],
        "Dataset of dicts": Dicts(dicts),
        "Dataset of (dict, label)": Dicts([(d, 0) for d in dicts]),
        "dict of tensors": {"input_ids": padded, "attention_mask": mask.long()},
        "dict of arrays": {"input_ids": padded.numpy(), "attention_mask": mask.long().numpy()},
        "loader of dicts": DataLoader(
            Dicts([{"input_ids": p, "attention_mask": m} for p, m in zip(padded, mask, strict=True)]), batch_size=2
        ),
        "iterator of batches": iter(
            [
                {"input_ids": padded[:3], "attention_mask": mask[:3]},
                {"input_ids": padded[3:], "attention_mask": mask[3:]},
            ]
        ),
        "other name of mask": {"input_ids": padded, "src_key_padding_mask": ~mask},
        "padded on the left": {"input_ids": padded.flip(1), "attention_mask": mask.flip(1)},
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["list of ids", "list of tensors", "list of dicts", "dicts without a mask", "Dataset of dicts", "Dataset of (dict, label)",
     "datasets.Dataset", "dict of tensors", "dict of arrays", "loader of dicts", "iterator of batches", "other name of mask",
     "padded on the left"],
)  # fmt: skip
@pytest.mark.parametrize("takes_mask", [True, False])
def test_padding_is_never_a_row(kind, takes_mask):
    ids, data = ragged(kind)
    model = (
        Tagger()
        if takes_mask
        else Net(lambda self, x: self.out(self.embed(x)), embed=nn.Embedding(20, 6), out=nn.Linear(6, 4))
    )
    rows = read(model, data, "out", batch_size=2)
    assert sorted(rows.sample.tolist()) == [i for i, length in enumerate(LENGTHS) for _ in range(length)]
    for i, one in enumerate(ids):
        alone = by_hand(model, model.out, one[None])[0]
        mine = rows.x[rows.sample == i][rows.position[rows.sample == i].argsort()]
        torch.testing.assert_close(mine, alone.flip(0) if "left" in kind else alone)


def test_a_mask_of_another_length_than_the_output_is_refused():
    model = Net(
        lambda self, x: self.conv(self.embed(x).transpose(1, 2)), embed=nn.Embedding(20, 6), conv=nn.Conv1d(6, 4, 3)
    )
    _, padded, mask = tokens()
    with pytest.raises(
        ValueError, match=r"layer 'conv' has 7 positions a sample, and the mask \(5, 9\) counts 9 tokens"
    ):
        read(model, {"input_ids": padded, "attention_mask": mask}, "conv")
    with pytest.raises(ValueError, match=r"attention_mask must be \(samples, tokens\), got \(5, 9, 9\)"):
        read(model, {"input_ids": padded, "attention_mask": torch.ones(5, 9, 9)}, "embed")


def test_pooled_outputs_need_no_mask():
    model = Net(lambda self, x: self.out(self.embed(x).mean(1)), embed=nn.Embedding(20, 6), out=nn.Linear(6, 4))
    _, padded, mask = tokens()
    same_rows(read(model, {"input_ids": padded, "attention_mask": mask}, "out"), by_hand(model, model.out, padded))


class Stream(IterableDataset):
    """Can be gone through once."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def __iter__(self):
        return self.samples


@pytest.mark.parametrize("n", [64, 16, 1])
@pytest.mark.parametrize("how", ["loader", "stream", "iterator"])
def test_what_can_be_read_once_is_read_whole(n, how):
    x, model = torch.randn(n, 4), nn.Sequential(nn.Linear(4, 3))
    data = {"loader": DataLoader(Stream(x), batch_size=16), "stream": Stream(x), "iterator": iter(x.split(16))}[how]
    same_rows(read(model, data, "0"), model(x).detach()[:, None])


def test_a_layer_called_twice_says_so():
    model, x = (
        Net(
            lambda self, x: self.relu(self.b(self.relu(self.a(x)))),
            a=nn.Linear(4, 6),
            b=nn.Linear(6, 6),
            relu=nn.ReLU(),
        ),
        torch.randn(9, 4),
    )
    with pytest.warns(UserWarning, match="'relu' is called 2 times in a forward pass; its first call is read"):
        rows = read(model, x, "relu")
    first, second = (by_hand(model, model.relu, x, call=k) for k in (1, 2))
    same_rows(rows, first)
    same_rows(read(model, x, "relu@2"), second)
    both = read(model, x, "relu@all")
    assert sorted(map(tuple, both.x.tolist())) == sorted(map(tuple, torch.cat([first, second]).tolist()))
    with pytest.raises(ValueError, match="the layer is called 2 times in a forward pass, not 3"):
        read(model, x, "relu@3")
    with pytest.raises(ValueError, match="after @ expected a number of a call from 1 on, or all, got 'two'"):
        read(model, x, "relu@two")


def test_a_layer_called_in_some_batches_only_is_counted():
    def forward(self, x):
        return self.late(x) if x[0, 0] > 0 else x

    model, x = Net(forward, late=nn.Linear(3, 2)), torch.randn(12, 3)
    x[:, 0] = torch.tensor([1.0] * 4 + [-1.0] * 4 + [1.0] * 4)
    with pytest.warns(UserWarning, match="'late' was called in 2 of 3 batches only"):
        rows = read(model, x, "late", batch_size=4)
    assert set(rows.sample.tolist()) == {0, 1, 2, 3, 8, 9, 10, 11}
    torch.testing.assert_close(rows.x, model.late(x).detach()[rows.sample])


def test_a_layer_that_comes_later_in_another_batch_is_not_missed():
    def forward(self, x):
        return self.b(self.a(x)) if x[0, 0] > 0 else self.a(self.b(x))

    model, x = Net(forward, a=nn.Linear(3, 3), b=nn.Linear(3, 3)), torch.randn(8, 3)
    x[:4, 0], x[4:, 0] = 1, -1
    assert {name: len(rows.x) for name, rows in read_activations(model, x, ["a", "b"], batch_size=4).items()} == {
        "a": 8,
        "b": 8,
    }


def test_positions_can_be_left_out():
    _, padded, mask = tokens()
    model = Tagger()
    for data in (
        {"input_ids": padded, "attention_mask": mask},
        {"input_ids": padded.flip(1), "attention_mask": mask.flip(1)},
    ):
        rows = read(model, data, "out", leave_out=(0, -1))
        assert sorted(rows.sample.tolist()) == [
            i for i, length in enumerate(LENGTHS) for _ in range(max(0, length - 2))
        ]
    x = torch.randn(6, 5, 4)
    rows = read(nn.Sequential(nn.Linear(4, 3)), x, "0", leave_out=(0,))
    assert sorted(set(rows.position.tolist())) == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="gave no row: all positions are padding or left out"):
        read(nn.Sequential(nn.Linear(4, 3)), torch.randn(6, 4), "0", leave_out=(0,))


# --- what a batch is


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, pixel_values, labels=None):
        return self.conv(pixel_values)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 3)

    def forward(self, x, context):
        return self.out(torch.cat([x, context], 1))


IMAGES = torch.randn(10, 3, 6, 6)


@pytest.mark.parametrize(
    "data",
    [
        IMAGES,
        IMAGES.numpy(),
        IMAGES.double().numpy(),
        list(IMAGES),
        [image.numpy() for image in IMAGES],
        {"pixel_values": IMAGES, "labels": torch.zeros(10)},
        {"image": IMAGES, "label": torch.zeros(10)},
        [{"pixel_values": image, "path": "a.png", "label": 1} for image in IMAGES],
        TensorDataset(IMAGES, torch.zeros(10)),
        DataLoader(TensorDataset(IMAGES, torch.zeros(10)), batch_size=4),
        DataLoader([{"pixel_values": image, "label": 1} for image in IMAGES], batch_size=4),
        [(image, 3, "name") for image in IMAGES],
    ],
    ids=lambda data: type(data).__name__,
)
def test_inputs_come_in_many_containers(data):
    model = Vision()
    same_rows(read(model, data, "conv"), by_hand(model, model.conv, IMAGES).permute(0, 2, 3, 1))


@pytest.mark.parametrize("kind", ["dict", "pairs", "loader"])
def test_models_of_two_inputs(kind):
    model, x, context = Two(), torch.randn(10, 2), torch.randn(10, 3)
    data = {
        "dict": {"context": context, "x": x, "labels": torch.zeros(10)},
        "pairs": TensorDataset(x, context, torch.zeros(10)),
        "loader": DataLoader(TensorDataset(x, context, torch.zeros(10)), batch_size=3),
    }[kind]
    same_rows(read(model, data, "out"), by_hand(model, model.out, x, context))


@pytest.mark.parametrize(
    ("model", "data", "error", "message"),
    [
        (Two(), {"a": torch.ones(5, 2), "b": torch.ones(5, 3)}, ValueError, "a, b, and the model's forward takes x, context"),
        (Two(), {"x": torch.ones(5, 2)}, ValueError, "a batch holds x, and the model's forward takes x, context"),
        (Vision(), {"pixel_values": IMAGES, "labels": torch.ones(4)}, ValueError, "entries must be of one length"),
        (Vision(), [], ValueError, "data is empty"),
        (Vision(), {"pixel_values": torch.ones(0, 3, 6, 6)}, ValueError, "data is empty"),
        (Vision(), iter([]), ValueError, "data is empty"),
        (Vision(), ["a text", "another"], TypeError, "texts need a language model with a tokenizer"),
        (Vision(), "a text", TypeError, "data must be a tensor, .* got str"),
        (Vision(), 7, TypeError, "data must be a tensor, .* got int"),
        (Vision(), [{"x": IMAGES[0]}, {"y": IMAGES[0]}], ValueError, "a sample lacks x, which the first one has"),
        (Vision(), [object(), object()], TypeError, "a sample must be a tensor, an array, numbers or a text, got object"),
        (Vision(), [torch.ones(3, 6, 6), torch.ones(3, 5, 5)], ValueError, r"of one shape, got \(3, 5, 5\), \(3, 6, 6\)"),
        (Vision(), iter([None]), TypeError, "a batch must be a tensor, a dict or tuple of tensors, or texts, got NoneType"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit_are_named(model, data, error, message):
    with pytest.raises(error, match=message):
        read(model, data, "out" if isinstance(model, Two) else "conv")


@pytest.mark.parametrize("n", [1, 2, 257, 513])
def test_a_model_that_squeezes(n):
    """No batch of one where there are more samples; and nothing is tried on a single one beforehand."""
    model = Net(lambda self, x: self.out(self.embed(x).squeeze()), embed=nn.Linear(3, 4), out=nn.Identity())
    x = torch.randn(n, 3)
    if n == 1:
        with pytest.raises(ValueError, match=r"gave shape \(4,\) for 1 samples"):
            read(model, x, "out")
    else:
        same_rows(read(model, x, "out"), model.embed(x).detach())


# --- what a layer gives


@pytest.mark.parametrize(
    ("gives", "error", "message"),
    [
        (lambda x: {"logits": x, "loss": x}, TypeError, "layer 'out' gave dict with logits, loss"),
        (lambda x: None, TypeError, "layer 'out' gave NoneType"),
        (lambda x: "text", TypeError, "layer 'out' gave str"),
        (lambda x: [], TypeError, "layer 'out' gave list"),
        (lambda x: torch.complex(x, x), TypeError, "layer 'out' gave values of torch.complex64"),
        (lambda x: x.long(), TypeError, "layer 'out' gave values of torch.int64"),
        (lambda x: x.to_sparse(), TypeError, "torch.sparse_coo"),
        (lambda x: x.sum(), ValueError, r"layer 'out' gave shape \(\) for 6 samples"),
        (lambda x: x[:1], ValueError, r"layer 'out' gave shape \(1, 4\) for 6 samples"),
        (lambda x: x[:5], ValueError, r"layer 'out' gave shape \(5, 4\) for 6 samples"),
    ],
)
def test_outputs_that_hold_no_rows_are_refused_by_name(gives, error, message):
    model = Net(lambda self, x: (self.out(x), x)[1], out=Net(lambda self, x: gives(x)))
    with pytest.raises(error, match=message):
        read(model, torch.randn(6, 4), "out")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).to(dtype), torch.randn(20, 4).to(dtype)
    rows = read(model, x, "1")
    assert rows.x.dtype == torch.float32
    same_rows(rows, by_hand(model, model[1], x))


def test_scripts_are_refused_by_name():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(6, 4)
    for made in (torch.jit.trace(model, x), torch.jit.script(model)):
        with pytest.raises(TypeError, match=r"of torch\.jit, which runs without its layers being seen"):
            read(made, x, "0")
    with pytest.raises(ValueError, match=r"layer '0\.0' is inside of '0', a script of torch.jit"):
        read(nn.Sequential(torch.jit.trace(model, x)), x, "0.0")


@pytest.mark.parametrize("how", ["whole", "part", "in place"])
def test_compiled_models(how):
    plain = nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Linear(6, 3))
    model, x = copy.deepcopy(plain), torch.randn(20, 4)
    if how == "whole":
        model = torch.compile(model, backend="eager")
    elif how == "part":
        model[0] = torch.compile(model[0], backend="eager")
    else:
        model.compile(backend="eager")
    model(x)
    expected = by_hand(plain, plain[0][0], x)
    same_rows(read(model, x, "0.0"), expected)
    model(x)
    same_rows(read(model, x, "0.0"), expected)


def test_parallel_models():
    model, x = nn.DataParallel(Vision()), IMAGES
    same_rows(
        read(model, {"pixel_values": x}, "module.conv"), by_hand(model.module, model.module.conv, x).permute(0, 2, 3, 1)
    )


def test_hooks_of_others_are_kept_and_count():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(20, 4)
    model[0].register_forward_hook(lambda m, i, o: o + 1)
    same_rows(read(model, x, "0"), (model[0](x)).detach())
    assert len(model[0]._forward_hooks) == 1


def test_bert_whose_module_is_called_output():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    model = transformers.BertModel(config)
    _, padded, mask = tokens()
    data = {"input_ids": padded, "attention_mask": mask.long(), "labels": torch.zeros(5)}
    for layer in ("encoder.layer.0.output", "encoder.layer.1.attention.self", "embeddings"):
        rows = read(model, data, layer)
        seen = by_hand(model, model.get_submodule(layer), input_ids=padded, attention_mask=mask.long())
        torch.testing.assert_close(rows.x, seen[rows.sample, rows.position], rtol=1e-4, atol=1e-5)
        assert len(rows.x) == sum(LENGTHS)
    same_rows(read(model, data, "pooler"), by_hand(model, model.pooler, input_ids=padded, attention_mask=mask.long()))


@pytest.mark.parametrize(
    "name", ["output", "input", "inputs", "source", "device", "iter", "trace", "get", "skip", "next"]
)
def test_modules_of_any_name(name):
    model, x = Net(lambda self, x: getattr(self, name)(x), **{name: nn.Linear(4, 3)}), torch.randn(20, 4)
    same_rows(read(model, x, name), by_hand(model, getattr(model, name), x))
    outer = Net(lambda self, x: self.block(x), block=model)
    same_rows(read(outer, x, f"block.{name}"), by_hand(model, getattr(model, name), x))


# --- what is left behind


def test_the_model_is_exactly_as_it_was():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Sequential(nn.ReLU(inplace=True)))
    model[1].eval()
    x, wrong = torch.randn(20, 4), torch.randn(20, 5)

    def state():
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
        kept = [{k: v for k, v in vars(m).items() if not k.startswith("_")} for m in model.modules()]
        values = {name: value.clone() for name, value in model.state_dict().items()}
        return (
            hooks,
            [type(m) for m in model.modules()],
            [sorted(vars(m)) for m in model.modules()],
            str(kept),
            str(values),
        )

    before, random = state(), torch.get_rng_state()
    read(model, x, "3")
    with pytest.raises(ValueError, match="expected a number of a call"):
        read(model, x, "3@x")
    with pytest.raises(RuntimeError):
        read(model, wrong, "3")
    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)
    torch.jit.script(model)


def test_shuffling_loaders_are_seeded():
    """Torch's own generator, from which such a loader draws, is seeded inside and put back after."""
    model, x = nn.Sequential(nn.Linear(4, 6)), torch.randn(500, 4)
    first, again, other = (
        read_activations(
            model, DataLoader(TensorDataset(x), batch_size=50, shuffle=True), "0", n_samples=50, seed=seed
        )["0"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


def test_two_threads_that_read_one_model():
    from concurrent.futures import ThreadPoolExecutor

    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).train()
    x = torch.randn(400, 4)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda layer: read(model, x, layer, batch_size=20), ["0", "1", "2", "0"] * 4))
    assert all(m.training for m in model.modules())
    for layer, rows in zip(["0", "1", "2", "0"] * 4, found, strict=True):
        same_rows(rows, by_hand(model, model.get_submodule(layer), x))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"n_samples": 1e2}, TypeError, "n_samples must be a whole number, got 100.0"),
        ({"n_samples": "100"}, TypeError, "n_samples must be a whole number, got '100'"),
        ({"n_samples": 1}, ValueError, "n_samples must be at least 2, got 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"layers": [3]}, TypeError, "layers must be names of modules, got 3"),
        ({"layers": []}, ValueError, "no layer was named"),
    ],
)
def test_arguments_are_named(how, error, message):
    with pytest.raises(error, match=message):
        plainly(read_activations)(nn.Sequential(nn.Linear(4, 3)), torch.randn(9, 4), **{"layers": "0"} | how)
