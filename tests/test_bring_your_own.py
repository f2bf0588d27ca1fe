"""The page “Bring your own network”: all of its code runs, on networks of these kinds with random weights."""

import itertools
import re
import types
from pathlib import Path

import pytest
import torch

import superpos
from benchmarks import material
from superpos import counting, dictionaries, foreign, measurement, top

PAGE = (Path(__file__).parents[1] / "book" / "bring_your_own.md").read_text()
PIECES = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FEW = counting.COUNTING.but(steps=20, sparsities=(2,), penalties=(0.3,), more_penalties=())


class Heads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.z = torch.nn.Linear(6, 10), torch.nn.Identity()

    def forward(self, x):
        return self.z(self.q(x)[..., :8].view(*x.shape[:2], 2, 4))


class Turned(torch.nn.Module):
    def __init__(self, lstm):
        super().__init__()
        self.lstm = lstm

    def forward(self, x):
        return self.lstm(x.transpose(0, 1))[0]


class GraphNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(5, 9)

    def forward(self, nodes, adjacency):
        return adjacency @ self.layer(nodes)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a reader has at hand before the first line of the page."""
    transformers, nnsight = pytest.importorskip("transformers"), pytest.importorskip("nnsight")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "b", "c", "d", "e", "f", "g", "h"])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    gpt = transformers.GPT2Config(vocab_size=10, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    folder = tmp_path_factory.mktemp("sae")
    g = torch.Generator().manual_seed(0)
    W, b = torch.randn(40, 6, generator=g), torch.randn(40, generator=g)
    material.save_saelens(dictionaries.Dictionary(W, b, W, torch.zeros(6), subtracted=torch.zeros(6)), folder)
    texts = [" ".join(letters) for letters in itertools.product("abcdefgh", repeat=2)] + ["a b c d"] * 3
    return {
        "superpos": superpos, "torch": torch, "transformers": transformers, "nnsight": nnsight, "tokenizer": tokenizer,
        "config": config, "gpt": transformers.GPT2LMHeadModel(gpt), "texts": texts,
        "heads": Heads(), "Turned": Turned,
        "images": torch.rand(40, 3, 32, 32), "sequences": torch.randn(60, 7, 6), "sound": torch.randn(40, 1, 2_000),
        "graphs": [(torch.randn(n, 5), torch.rand(n, n)) for n in (10, 20, 30)], "folder": folder,
        "graph_network": GraphNetwork(),
    }  # fmt: skip


EXPECTED = (  # axis of the neurons and their number in each layer
    [("1", 64), ("1", 256)],
    [("2", 16), ("2", 16)],
    [("3", 16), ("3", 32)],
    [("2", 16), ("2", 16)],
    [("2", 16), ("2", 16)],
    [("2,3", 8)],
    [("2", 24)],
    [("1", 24), ("1", 12)],
    [("1", 9)],
    [("2", 6)],
    None,
)


def test_the_page_has_as_many_pieces_as_are_tested():
    assert len(PIECES) == len(EXPECTED)


@pytest.mark.parametrize("number", range(len(EXPECTED)))
@pytest.mark.filterwarnings("ignore:layer .*(fvu|dead)")
def test_every_piece_runs(given, monkeypatch, number):
    for module in (measurement, top):
        monkeypatch.setattr(module, "COUNTING", FEW)
    code, names = PIECES[number], dict(given)
    assert len(code.strip().splitlines()) <= 6
    if number >= 9:  # the model of an SAE's page is whatever the reader has
        names["model"] = torch.nn.Sequential(torch.nn.Identity())
    if number == 2 or number == 1:
        names["torchvision"] = pytest.importorskip("torchvision")
    exec(compile(code, f"piece {number}", "exec"), names)
    if EXPECTED[number] is None:
        assert names["top"].columns.tolist()[:3] == ["code", "share", "place"]
        return
    assert list(zip(names["table"].axis, names["table"].n_neurons, strict=True)) == EXPECTED[number]


def test_published_dictionaries_by_name(given, monkeypatch):
    """A folder, a repository of the hub, a release of SAELens; each loader is a stand-in, for there is no network here."""
    x = torch.randn(20, 6)
    folder, expected = given["folder"], dictionaries.load(given["folder"]).encode(x)
    assert torch.equal(foreign.published(str(folder.parent), folder.name).encode(x), expected)
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda repository, **_: folder.parent)
    assert torch.equal(foreign.published("EleutherAI/some", folder.name).encode(x), expected)

    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError, match=r"EleutherAI/some is not in the local cache and could not be fetched"):
        foreign.published("EleutherAI/some", "layers.3")
    made = types.SimpleNamespace(encode=lambda x: x.relu(), decode=lambda z: z, name="theirs")
    lens = types.SimpleNamespace(SAE=types.SimpleNamespace(from_pretrained=lambda name, site, device: made))
    monkeypatch.setitem(__import__("sys").modules, "sae_lens", lens)
    assert foreign.published("gpt2-small-res-jb", "blocks.8.hook_resid_pre").name == "theirs"
    lens.SAE.from_pretrained = unreachable
    with pytest.raises(FileNotFoundError, match="SAELens gave no SAE 'x' of the release 'none'"):
        foreign.published("none", "x")
    monkeypatch.setitem(__import__("sys").modules, "sae_lens", None)
    with pytest.raises(FileNotFoundError, match="needs pip install sae-lens"):
        foreign.published("none", "x")
