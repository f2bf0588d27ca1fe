"""What readers of the code tried to break it with: each once gave wrong rows without a word."""

import numpy as np
import pytest
import torch
from test_any_network import LENGTHS, Net, Tagger, Vision, by_hand, read, same_rows, tokens
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import superpos
from superpos.activations import read_activations
from superpos.usage import reading


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# --- axes

BRANCH = Net(lambda self, x: torch.cat([self.a(x), self.b(x)], 1), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(3, 64, 1))


def attention(self, x):
    x = x.flatten(2)
    return self.s(x.transpose(1, 2) @ x)


def flattened(self, x):
    return self.d(self.r(x[:, None].expand(-1, 2, -1).transpose(0, 1))[0].reshape(-1, 6))


REFUSED = {
    "gated channels as many as positions": (nn.Sequential(nn.Conv1d(8, 32, 1), nn.GLU(1)), (5, 8, 32), "1"),
    "gated neurons": (nn.Sequential(nn.Linear(8, 32), nn.GLU(-1)), (5, 32, 8), "1"),
    "a height as wide as the last convolution": (nn.Sequential(BRANCH), (2, 3, 64, 8), "0"),
    "cut in pieces": (nn.Sequential(nn.Linear(4, 80), nn.Unflatten(1, (8, 10)), nn.ReLU()), (5, 4), "2"),
    "patches as many as they are wide": (
        nn.Sequential(Net(lambda self, x: self.c(x).flatten(2).transpose(1, 2), c=nn.Conv2d(3, 16, 4, 4))), (3, 3, 16, 16), "0",
    ),
    "tokens mixed": (
        nn.Sequential(nn.Linear(6, 24), Net(lambda self, x: self.m(x.transpose(1, 2)).transpose(1, 2), m=nn.Linear(16, 16))),
        (5, 16, 6), "1",
    ),
    "attention between tokens": (
        nn.Sequential(nn.Conv2d(3, 8, 2), Net(attention, s=nn.Softmax(-1))),
        (2, 3, 5, 5), "1.s",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_asked_about(name):
    model, shape, layer = REFUSED[name]
    with pytest.raises(ValueError, match="whose axis of neurons cannot be told: give it, axis=1"):
        read(model, torch.randn(*shape), layer)


CHANNELS = {
    "branches of another width": (nn.Sequential(BRANCH), (2, 3, 5, 7), "0"),
    "branches of eight by eight": (nn.Sequential(BRANCH), (2, 3, 8, 8), "0"),
    "shuffled pixels": (nn.Sequential(nn.Conv2d(3, 64, 1), nn.PixelShuffle(2)), (2, 3, 32, 20), "1"),
    "unfolded": (nn.Sequential(nn.Unfold(2, stride=2)), (2, 3, 6, 6), "0"),
    "a pool whose sides are the channels": (nn.Sequential(nn.Conv2d(1, 4, 1), nn.MaxPool2d(2)), (3, 1, 8, 8), "1"),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_stay_channels(name):
    model, shape, layer = CHANNELS[name]
    x = torch.randn(*shape)
    rows = read(model, x, layer)
    assert rows.axis == "1"
    same_rows(rows, by_hand(model, model.get_submodule(layer), x).movedim(1, -1))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("googlenet", 128),
        ("densenet121", 64),
        ("mobilenet_v3_small", 64),
        ("efficientnet_b0", 64),
        ("squeezenet1_1", 64),
    ],
)
def test_no_module_of_a_published_network_is_read_along_its_pixels(name, size):
    """Its channels do not depend on the size of the images: every module that is read, or asked about, at two sizes."""
    models = pytest.importorskip("torchvision.models")
    model = getattr(models, name)(
        weights=None, **({"init_weights": False, "aux_logits": False} if name == "googlenet" else {})
    )
    layers = [n for n, m in model.named_modules() if n and not isinstance(m, nn.Dropout)][
        :: 9 if name in ("densenet121", "efficientnet_b0") else 3
    ]
    widths = {}
    for side in (size, size + 32):
        for layer in layers:
            try:
                rows = read_activations(
                    model.eval(), torch.randn(2, 3, side, size), f"{layer}@1", n_samples=4, batch_size=2
                )
            except ValueError as error:
                if "cannot be told" not in str(error) and "never called" not in str(error):
                    raise
                continue
            widths.setdefault(layer, set()).add(rows[f"{layer}@1"].x.shape[1])
    assert [layer for layer, of in widths.items() if len(of) > 1] == []
    assert len(widths) > 0.9 * len(layers)


# --- samples


def test_time_first_modules_inside_a_batch_first_model():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    model = Net(
        lambda self, x: self.head(self.enc(x.transpose(0, 1)).transpose(0, 1)), enc=encoder, head=nn.Linear(8, 3)
    )
    x = torch.randn(5, 7, 8)
    same_rows(read(model, x, "head"), by_hand(model, model.head, x))
    same_rows(read(model, x, "enc"), by_hand(model, model.enc, x).transpose(0, 1))
    x = torch.randn(7, 7, 8)
    same_rows(read(model, x, "head"), by_hand(model, model.head, x))
    same_rows(read(model, x, "enc"), by_hand(model, model.enc, x).transpose(0, 1))
    first = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True)
    model = Net(
        lambda self, x: self.enc(x.transpose(0, 1)), enc=nn.TransformerEncoder(first, 1, enable_nested_tensor=False)
    )
    x = torch.randn(4, 8, 8)
    same_rows(read(model, x, "enc.layers.0.norm1"), by_hand(model, model.enc.layers[0].norm1, x).transpose(0, 1))


def test_rows_laid_out_in_any_order_keep_their_sample():
    """Which axis follows is seen by running the first batch in another order."""
    views = Net(lambda self, x: self.p(torch.cat([x, x.flip(1)])), p=nn.Linear(4, 3))
    x = torch.randn(6, 4)
    same_rows(read(views, x, "p"), by_hand(views, views.p, x).view(2, 6, 3).transpose(0, 1))
    turned = Net(flattened, r=nn.LSTM(4, 6), d=nn.Linear(6, 3))
    same_rows(read(turned, x, "d"), by_hand(turned, turned.d, x).view(2, 6, 3).transpose(0, 1))
    own = Net(lambda self, x: self.q(x.transpose(0, 1)).transpose(0, 1), q=nn.Linear(3, 5))
    for n, T in ((4, 8), (6, 6), (5, 7), (8, 4)):  # time first without any module that says so
        x = torch.randn(n, T, 3)
        same_rows(read(own, x, "q"), by_hand(own, own.q, x).transpose(0, 1))
        same_rows(read(own, x, "q", batch_size=2), by_hand(own, own.q, x).transpose(0, 1))


def test_samples_far_from_zero_are_told_apart():
    """Beside a large mean samples look alike; what tells them apart is what is compared."""
    model = Net(lambda self, x: self.q(x.transpose(0, 1)).transpose(0, 1) + 0, q=nn.Linear(3, 5))
    model.q.bias.data += 500.0
    x = torch.randn(4, 8, 3)
    same_rows(read(model, x, "q"), by_hand(model, model.q, x).transpose(0, 1))


def test_a_layer_that_comes_late_is_tried_when_it_comes():
    def forward(self, x):
        return self.q(x.transpose(0, 1)) if x[0, 0, 0] > 0 else x

    model, x = Net(forward, q=nn.Linear(3, 5)), torch.randn(8, 8, 3)
    x[:4, :, 0], x[4:, :, 0] = -1, 1
    with pytest.warns(UserWarning, match="1 of 2 batches only"):
        rows = read(model, x, "q", batch_size=4)
    torch.testing.assert_close(rows.x, model.q(x).detach()[rows.sample, rows.position])


@pytest.mark.parametrize("n", [6, 12])
def test_what_does_not_depend_on_the_samples_is_refused(n):
    model = Net(lambda self, x: x + self.wpe(torch.arange(12)), wpe=nn.Embedding(12, 4))
    with pytest.raises(ValueError, match="no axis followed when the samples were put in another order"):
        read(model, torch.randn(n, 12, 4), "wpe")


@pytest.mark.parametrize("name", ["longformer", "xlnet"])
def test_language_models_that_turn_their_tokens(name):
    transformers = pytest.importorskip("transformers")
    n, T = 8, 16
    ids = torch.randint(2, 50, (n, T))
    mask = torch.ones_like(ids)
    mask[:, 10:] = 0
    if name == "longformer":
        config = transformers.LongformerConfig(
            attention_window=[16], hidden_size=24, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
            vocab_size=50, max_position_embeddings=64, pad_token_id=1,
        )  # fmt: skip
        model, layer = transformers.LongformerModel(config), "encoder.layer.0.attention.self.query"
    else:
        model = transformers.XLNetModel(
            transformers.XLNetConfig(d_model=24, n_layer=1, n_head=4, d_inner=48, vocab_size=50)
        )
        layer = "layer.0.ff"
    seen = by_hand(model, model.get_submodule(layer), input_ids=ids, attention_mask=mask).transpose(0, 1)
    rows = read(model, {"input_ids": ids, "attention_mask": mask}, layer)
    assert len(rows.x) == 80
    torch.testing.assert_close(rows.x, seen[rows.sample, rows.position], rtol=1e-3, atol=1e-4)


def test_steps_of_a_loop_and_their_padding():
    def forward(self, x):
        h = torch.zeros(len(x), 4)
        for t in range(x.shape[1]):
            h = self.cell(self.embed(x)[:, t], h)
        return h

    model, (_, padded, mask) = Net(forward, embed=nn.Embedding(20, 3), cell=nn.GRUCell(3, 4)), tokens()
    data = {"input_ids": padded, "attention_mask": mask}
    with pytest.raises(ValueError, match=r"'cell@all' gives a row a sample in each call, .* mask='' reads"):
        read(model, data, "cell@all")
    assert len(read(model, data, "cell@all", mask="").x) == 45


LISTS = {
    "list of pairs": lambda x: DataLoader([(one, 0) for one in x], batch_size=4, collate_fn=list),
    "pairs apart": lambda x: DataLoader(
        [(one, 0) for one in x], batch_size=4, collate_fn=lambda b: tuple(zip(*b, strict=True))
    ),
    "list of dicts": lambda x: DataLoader([{"x": one, "label": 0} for one in x], batch_size=4, collate_fn=list),
}


@pytest.mark.parametrize("kind", LISTS)
def test_batches_that_are_lists_of_samples(kind):
    model, x = nn.Sequential(nn.Conv2d(3, 6, 3)), torch.randn(10, 3, 8, 8)
    same_rows(read(model, LISTS[kind](x), "0"), by_hand(model, model[0], x).permute(0, 2, 3, 1))


def test_ids_in_lists_of_batches_and_numbered_classes():
    model = nn.Sequential(nn.Embedding(50, 3))
    assert len(read(model, iter([[[1, 2, 3], [4, 5, 6]]]), "0").x) == 6
    rows = read(model, [(i, 1) for i in range(20)], "0")
    same_rows(rows, model[0].weight.detach()[:20])


def test_single_samples_in_place_of_batches_are_refused():
    with pytest.raises(ValueError, match=r"a Conv2d, gave shape \(6, 6, 6\); expected 4 axes: give batches"):
        read(nn.Sequential(nn.Conv2d(3, 6, 3)), (torch.randn(3, 8, 8) for _ in range(6)), "0")
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 4), torch.randn(2, 4)])
    with pytest.raises(TypeError, match="a batch is a PackedSequence"):
        read(Net(lambda self, x: self.r(x)[0], r=nn.LSTM(4, 3, batch_first=True)), iter([packed]), "r")


# --- masks


class Masked(nn.Module):
    """Whose output tells whether the mask came through."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 6), nn.Linear(6, 4)

    def forward(self, input_ids, attention_mask=None, y=None):
        x = self.embed(input_ids)
        mask = torch.ones(x.shape[:2]) if attention_mask is None else attention_mask.float()
        mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return self.out(x + mean if y is None else x + y[:, None, None])


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


class Half(Wrapped):
    def forward(self, input_ids, **kwargs):
        return self.model(input_ids, **kwargs)


@pytest.mark.parametrize("kind", ["plain", "any arguments", "any names", "tuple", "ragged ids"])
def test_masks_reach_the_model_and_the_rows(kind):
    inner = Masked()
    model = {"any arguments": Wrapped(inner), "any names": Half(inner)}.get(kind, inner)
    ids, padded, mask = tokens()
    data = {"input_ids": padded, "attention_mask": mask.long()}
    data = {"tuple": TensorDataset(padded, mask.long()), "ragged ids": ids}.get(kind, data)
    rows = read(model, data, "out" if model is inner else "model.out")
    expected = by_hand(inner, inner.out, padded, attention_mask=mask)
    assert sorted(rows.sample.tolist()) == [i for i, length in enumerate(LENGTHS) for _ in range(length)]
    torch.testing.assert_close(rows.x, expected[rows.sample, rows.position])


def test_labels_of_tokens_are_no_mask():
    _, padded, _ = tokens()
    labels = torch.randint(0, 2, padded.shape)
    assert len(read(Masked(), TensorDataset(padded, labels), "out").x) == padded.numel()


def test_lengths_say_what_is_padding():
    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.out(nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])

    class Model(Net):
        def forward(self, x, lengths):
            return forward(self, x, lengths)

    model = Model(None, rnn=nn.LSTM(3, 4, batch_first=True), out=nn.Linear(4, 2))
    rows = read(model, {"x": torch.randn(3, 5, 3), "lengths": torch.tensor([5, 2, 3])}, "out")
    assert sorted(rows.sample.tolist()) == [0] * 5 + [1] * 2 + [2] * 3


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Embedding(20, 4), nn.Embedding(20, 4)

    def forward(self, input_ids, decoder_input_ids, attention_mask=None, decoder_attention_mask=None):
        return self.encode(input_ids).sum() + self.decode(decoder_input_ids)


def test_two_streams_ask_whose_mask_is_meant():
    _, padded, mask = tokens()
    data = {
        "input_ids": padded,
        "attention_mask": mask,
        "decoder_input_ids": padded,
        "decoder_attention_mask": torch.ones(5, 9),
    }
    with pytest.raises(
        ValueError, match=r"holds decoder and text and the masks attention_mask, decoder_attention_mask: say whose"
    ):
        read(Decoder(), data, "decode")
    assert len(read(Decoder(), data, "decode", mask="decoder_attention_mask").x) == 45
    assert len(read(Decoder(), data, "encode", mask="attention_mask").x) == sum(LENGTHS)
    assert len(read(Decoder(), data, "encode", mask="").x) == 45
    with pytest.raises(
        ValueError, match=r"mask must be one of the masks that a batch holds \(attention_mask, .* got 'no'"
    ):
        read(Decoder(), data, "encode", mask="no")
    with pytest.raises(ValueError, match="'mask', which may mean what is real or what is padding"):
        read(Tagger(), {"input_ids": padded, "mask": mask}, "out")


def test_inputs_called_like_labels_reach_a_model_that_takes_them():
    model, (_, padded, mask) = Masked(), tokens()
    y = torch.randn(5)
    rows = read(model, {"input_ids": padded, "attention_mask": mask, "y": y}, "out")
    expected = by_hand(model, model.out, padded, attention_mask=mask, y=y)
    torch.testing.assert_close(rows.x, expected[rows.sample, rows.position])


# --- containers and errors


def test_inputs_and_targets_in_a_tuple_are_asked_about():
    with pytest.raises(TypeError, match="data is a tuple of 2 arrays of 10 each: give the inputs alone"):
        read(nn.Sequential(nn.Linear(4, 4)), (torch.zeros(10, 4), torch.ones(10, 4)), "0")


def test_tables_of_pandas():
    pd = pytest.importorskip("pandas")
    x, model = np.arange(16.0).reshape(4, 4), nn.Sequential(nn.Linear(4, 3))
    for frame in (pd.DataFrame(x), pd.DataFrame(x, columns=list("abcd"))[lambda t: t.a >= 0]):
        same_rows(read(model, frame, "0"), model(torch.tensor(x).float()).detach())
    with pytest.raises(TypeError, match="DataFrame with columns of other than numbers"):
        read(model, pd.DataFrame({"a": ["x"]}), "0")


@pytest.mark.parametrize(
    ("model", "data", "error", "message"),
    [
        (nn.Sequential(nn.Embedding(9, 3)), [{"text": "a", "idx": 1, "label": 1}] * 4, ValueError, r"text \(tuple of str\), idx"),
        (Vision(), [{"img": object(), "label": 1}] * 4, ValueError, r"img \(list of object\), label"),
        (nn.Linear(3, 2), torch.randn(9, 3), ValueError, "the model is one module without layers: wrap it"),
        (nn.Sequential(nn.LazyLinear(3)), torch.randn(9, 3), TypeError, "'0' is a LazyLinear, which has no weights yet"),
    ],
)  # fmt: skip
def test_more_errors_that_name_what_is_wrong(model, data, error, message):
    with pytest.raises(error, match=message):
        read(model, data, "0" if not isinstance(model, Vision) else "conv")


def test_what_the_model_itself_raises_says_what_it_was_given():
    with pytest.raises(RuntimeError) as caught:
        read(nn.Sequential(nn.Linear(4, 3)), torch.ones(9, 4, dtype=torch.uint8), "0")
    assert "the model was given 0: torch.uint8 (9, 4)" in caught.value.__notes__[0]


def test_unpadded_tokens_are_padded():
    ids, _, _ = tokens()
    data = {"input_ids": [i.tolist() for i in ids], "attention_mask": [[1] * len(i) for i in ids]}
    for given in (data, iter([data])):
        assert len(read(Tagger(), given, "out").x) == sum(LENGTHS)


def test_a_layer_asked_for_twice_and_all_calls():
    model, x = (
        Net(lambda self, x: self.r(self.b(self.r(self.a(x)))), a=nn.Linear(4, 6), b=nn.Linear(6, 6), r=nn.ReLU()),
        torch.randn(9, 4),
    )
    rows = read_activations(model, x, ["r@2", "r@2"])["r@2"]
    torch.testing.assert_close(rows.x, by_hand(model, model.r, x, call=2)[rows.sample])
    assert read(model, x, "r@all").rows_per_sample == 2


# --- what is left behind


def test_modules_that_merge_in_evaluation_mode_are_put_back():
    class Merges(nn.Linear):
        merged = False

        def train(self, mode=True):
            super().train(mode)
            if mode == self.merged:
                self.weight.data += -1.0 if mode else 1.0
                self.merged = not mode
            return self

    model, x = nn.Sequential(Merges(4, 3), nn.BatchNorm1d(3)).train(), torch.randn(9, 4)
    model[1].eval()
    before = model[0].weight.clone()
    read(model, x, "0")
    assert (model[0].merged, model[0].training, model[1].training) == (False, True, False)
    torch.testing.assert_close(model[0].weight, before)


def test_a_model_that_keeps_books_runs_every_pass_to_its_end():
    def forward(self, x):
        self.cache.append(1)
        y = self.o(self.l(x))
        self.cache.pop()
        return y

    model = Net(forward, l=nn.Linear(4, 3), o=nn.Linear(3, 2))
    model.cache = []
    read(model, torch.randn(20, 4), "l", batch_size=5)
    assert model.cache == []


def test_two_threads_on_two_models_leave_torch_as_it_was():
    from concurrent.futures import ThreadPoolExecutor

    models = [nn.Sequential(nn.Linear(4, 300), nn.Linear(300, 3)) for _ in range(6)]
    before = torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state()
    x = torch.randn(2_000, 4, generator=torch.Generator().manual_seed(0))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda model: read(model, x, "0", batch_size=50), models))
    assert torch.backends.mha.get_fastpath_enabled() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


# --- dictionaries and words


def test_dictionary_learning_writes_by_its_decoder():
    class DL(nn.Module):
        def __init__(self, c):
            super().__init__()
            g = torch.Generator().manual_seed(1)
            self.encoder, self.decoder = nn.Linear(6, 40), nn.Linear(40, 6, bias=False)
            self.encoder.weight.data = torch.randn(40, 6, generator=g) * c[:, None]
            self.encoder.bias.data = torch.randn(40, generator=g) * c
            self.decoder.weight.data = torch.randn(6, 40, generator=g) / c

        def encode(self, x):
            return self.encoder(x).relu()

        def decode(self, f):
            return self.decoder(f)

    x = torch.randn(300, 6)
    one, other = (reading(DL(c), x)["effective_features"] for c in (torch.ones(40), torch.logspace(-2, 2, 40)))
    assert one == pytest.approx(other, rel=1e-4)


class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(torch.eye(9))
        self.pool = nn.Identity()

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids)
        return self.pool(x.mean(1))


class Eye:
    dictionary = torch.eye(9)

    def encode(self, x):
        return x

    def decode(self, z):
        return z


class Words:
    def __call__(self, text):
        return {"input_ids": [" abcdefgh".index(c) for c in text]}

    def decode(self, ids):
        return "".join(" abcdefgh"[i] for i in ids)


def test_words_of_texts_padded_on_the_left_are_marked_right():
    texts = ["abcd", "h", "cdefgha", "ba"]
    ids = [Words()(text)["input_ids"] for text in texts]
    padded = torch.tensor([[0] * (7 - len(i)) + i for i in ids])
    data = {"input_ids": padded, "attention_mask": (padded > 0).long()}
    how = {"sae": Eye(), "tokenizer": Words(), "n_codes": 9}
    for row in superpos.top_rows(Letters(), data, "embed", **how).itertuples():
        letter = texts[row.sample][row.position]
        assert f"«{letter}»" in row.text
        assert row.text.replace("«", "").replace("»", "") == texts[row.sample]
    pooled = superpos.top_rows(Letters(), data, "pool", **how)
    assert set(pooled.text) <= {"", "«h»"}  # a vector for the whole text marks none of its tokens
    dicts = [{name: data[name][i] for name in data} for i in range(4)]
    other = {"input_ids": padded, "src_key_padding_mask": padded == 0}
    for given, more in ((dicts, {}), (other, {}), (data, {"mask": ""})):
        table = superpos.top_rows(Letters(), given, "embed", **how, **more)
        shown = table[table.text.str.len() > 0]
        for row in shown.itertuples():
            marked = row.text[row.text.index("«") + 1]
            kept = row.text.replace("«", "").replace("»", "").strip()
            assert kept == texts[row.sample]
            assert marked == " " or (
                marked == texts[row.sample][row.position] if not more else marked in texts[row.sample]
            )
        assert len(shown) > 0
