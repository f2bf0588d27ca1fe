"""What the codes mean: each code's rows are those that hold its feature, one a sample, with the token marked."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import superpos
from superpos import charts, counting, readings

SAME = nn.Sequential(nn.Identity())
FEW = counting.COUNTING.but(steps=600, sparsities=(2,))


def planted(n=1_500, k=8, N=12):
    """Rows of k directions at right angles, each on in a tenth of the rows, the first ones larger."""
    g = torch.Generator().manual_seed(0)
    on = (torch.rand(n, k, generator=g) < 0.1) * (0.5 + torch.rand(n, k, generator=g)) * torch.linspace(3, 1, k)
    return on @ torch.linalg.qr(torch.randn(N, N, generator=g)).Q[:k], on


@pytest.mark.parametrize("how", ["count", "sae"])
def test_each_code_shows_the_rows_of_one_feature(how):
    x, on = planted()
    sae = FEW if how == "count" else readings.TOP.but(k=1, steps=1_500)
    table = superpos.top_rows(SAME, x, "0", sae=sae, n_codes=3, n_rows=4)
    assert table.code.tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert table.place.tolist() == [1, 2, 3, 4] * 3
    strongest = [on[group["sample"].tolist()].sum(0).argmax().item() for _, group in table.groupby("code")]
    for feature, (_, group) in zip(strongest, table.groupby("code"), strict=True):
        assert group.value.is_monotonic_decreasing
        assert (on[group["sample"].tolist(), feature] > 1).all()
    assert table.share.is_monotonic_decreasing
    assert (table.text == "").all()


def test_shares_are_those_of_f():
    """Of an SAE that is fitted here by Σ|z|, of one from elsewhere by what it writes: as in the reading."""
    x, _ = planted(600)
    for sae in (superpos.PUBLISHED_FAST.but(epochs=3), Uneven()):
        table = superpos.top_rows(SAME, x, "0", sae=sae, n_codes=1_000, n_rows=1)
        F = superpos.measure(SAME, x, "0", sae=sae, held_out=0).effective_features[0]
        p = table.share.to_numpy()
        assert math.exp(-(p * np.log(p)).sum()) == pytest.approx(F, rel=1e-3)


class Uneven:
    """Codes of a tenth to ten times the length of what they write."""

    dictionary = torch.eye(12) / torch.logspace(-1, 1, 12)[:, None]

    def encode(self, x):
        return x.relu() * torch.logspace(-1, 1, 12)

    def decode(self, z):
        return z @ self.dictionary


class Words:
    """A tokenizer of single letters."""

    def __call__(self, text):
        return {"input_ids": [ord(c) - 96 for c in text]}

    def decode(self, ids):
        return "".join(chr(i + 96) for i in ids)


class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(27, 27)
        self.embed.weight.data = torch.eye(27) * torch.linspace(1, 3, 27)[:, None]

    def forward(self, input_ids, attention_mask=None):
        return self.embed(input_ids)


@pytest.mark.parametrize("kind", ["lists", "dict"])
def test_the_token_that_was_read_is_marked(kind):
    texts = ["abcz", "zcba", "bbza", "aabb", "cczc"] * 40
    ids = [Words()(text)["input_ids"] for text in texts]
    data = ids if kind == "lists" else {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(200, 4)}
    sae = superpos.PROTOCOL.but(steps=300)
    table = superpos.top_rows(Letters(), data, "embed", sae=sae, tokenizer=Words(), n_rows=3)
    for row in table.itertuples():
        letter = texts[row.sample][row.position]
        assert row.text == f"{texts[row.sample][: row.position]}«{letter}»{texts[row.sample][row.position + 1 :]}"
    for _, group in table.groupby("code"):
        assert group["sample"].is_unique


def test_errors_are_named():
    x, _ = planted(100)
    with pytest.raises(ValueError, match="n_codes must be at least 1, got 0"):
        superpos.top_rows(SAME, x, "0", n_codes=0)

    class Dead:
        def encode(self, x):
            return torch.zeros(len(x), 5)

    with pytest.raises(ValueError, match="layer '0': no code is active on any row"):
        superpos.top_rows(SAME, x, "0", sae=Dead())


def test_a_gallery_draws_an_image_for_each_line():
    import base64
    import io

    import numpy as np
    import pandas as pd
    from PIL import Image

    table = pd.DataFrame({"code": [1, 1], "place": [1, 2]})
    images = torch.stack([torch.zeros(1, 8, 8), torch.eye(8)[None]])
    spec = charts.gallery(table, images, "place", "code").to_dict()
    (data,) = spec["datasets"].values()
    picture = Image.open(io.BytesIO(base64.b64decode(data[1]["image"].partition(",")[2])))
    assert np.array_equal(np.asarray(picture.resize((8, 8), Image.Resampling.NEAREST)) > 128, np.eye(8) > 0)
    with pytest.raises(ValueError, match="expected an image for each of 2 lines, got 1"):
        charts.gallery(table, images[:1], "place", "code")
