"""Texts as token ids: where they come from, how they are cut, batched and shuffled."""

import json

import pytest
import torch

from superpos.findings.language import texts
from superpos.findings.language.texts import Draw, Tokens, read_texts, tokenize, train_tokenizer

TEXT = "the cat sat on the mat and the dog lay by the door of the house while it rained"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer([TEXT] * 3, 270, tmp_path_factory.mktemp("tokenizer"))


def some(lengths=(3, 5, 2, 4), prefix=0):
    lengths = torch.tensor(lengths)
    return Tokens(torch.arange(10, 10 + int(lengths.sum()), dtype=torch.int32), lengths, prefix)


def test_batches_keep_to_the_budget_and_lose_nothing():
    tokens = some([3, 5, 2, 4, 9, 1])
    found, sizes = [], []
    for start, ids, mask in tokens.batches(10):
        assert start == len([n for batch in sizes for n in batch])
        assert ids.numel() <= 10
        assert (ids[~mask] == 0).all()
        found += ids[mask].tolist()
        sizes.append(mask.sum(1).tolist())
    assert found == tokens.ids.tolist()
    assert sizes == [[3, 5], [2, 4], [9], [1]]


def test_a_text_longer_than_the_budget_is_a_batch_alone():
    assert [ids.shape for _, ids, _ in some().batches(1)] == [(1, 3), (1, 5), (1, 2), (1, 4)]


def test_batches_stop_where_told_and_start_where_left():
    tokens = some([3] * 6)
    assert [len(ids) for _, ids, _ in tokens.batches(100, stops=[1, 4])] == [1, 3, 2]
    assert [start for start, _, _ in tokens.batches(100, start=4)] == [4]


def test_shuffled_texts_hold_the_same_tokens_elsewhere():
    tokens = some([50, 30, 20], prefix=1)
    mixed = tokens.shuffled(3)
    assert torch.equal(mixed.ids.sort().values, tokens.ids)
    assert torch.equal(mixed.lengths, tokens.lengths)
    assert torch.equal(mixed.ids[tokens.starts], tokens.ids[tokens.starts]), "special tokens stay in front"
    assert (mixed.ids[:50] >= 60).any(), "over all texts, not within each"
    assert torch.equal(mixed.ids, tokens.shuffled(3).ids)
    assert not torch.equal(mixed.ids, tokens.shuffled(4).ids)
    assert mixed.fingerprint() != tokens.fingerprint() == some([50, 30, 20]).fingerprint()


def test_windows_are_the_text_in_pieces(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    source, whole = f"files:{tmp_path}/*.txt", tokenizer(TEXT).input_ids
    n = -(-len(whole) // 5)
    every = tokenize(Draw(source, n, seed=0, context=5, windows="all"), tokenizer)
    assert sorted(every.ids.tolist()) == sorted(whole)
    pieces = {tuple(piece.tolist()) for piece in every.ids.split(every.lengths.tolist())}
    assert pieces == {tuple(whole[i : i + 5]) for i in range(0, len(whole), 5)}
    assert tokenize(Draw(source, 1, seed=0, context=5), tokenizer).ids.tolist() == whole[:5]


def test_special_tokens_in_front_of_every_window(tokenizer, tmp_path):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "a.txt").write_text(TEXT)
    inner = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    inner.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    with_start = PreTrainedTokenizerFast(tokenizer_object=inner)
    tokens = tokenize(Draw(f"files:{tmp_path}/*.txt", 3, seed=0, context=5, windows="all"), with_start)
    assert tokens.prefix == 1
    assert tokens.ids[tokens.starts].tolist() == [0, 0, 0]
    assert tokens.lengths.max() == 5


def test_files_of_texts_and_of_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": word}) for word in ("three", "four", " ")))
    assert read_texts(f"files:{tmp_path}/*") == ["one\ntwo", "three", "four"]


def test_a_streamed_data_set(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    lines = [{"content": f"{TEXT[3 * i :]} {i}"} for i in range(12)]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = f"hub:{tmp_path / 'set'}:train:content"
    a, b, c = (tokenize(Draw(source, 6, seed, context=8), tokenizer) for seed in (1, 1, 2))
    assert len(a) == 6
    assert torch.equal(a.ids, b.ids)
    assert not torch.equal(a.ids, c.ids)
    with pytest.raises(ValueError, match=r"no column 'text'; it has content"):
        tokenize(Draw(f"hub:{tmp_path / 'set'}:train:text", 6, seed=0), tokenizer)
    with pytest.raises(ValueError, match="has 12 texts of up to 8 tokens, 40 were asked for"):
        tokenize(Draw(source, 40, seed=0, context=8), tokenizer)


def test_a_data_set_out_of_reach_is_named(monkeypatch):
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"someone/pile could not be reached .* or python:read"):
        read_texts("hub:someone/pile:train:text")


def test_parts_of_pythons_texts_are_disjoint_and_large():
    parts = {part: texts.python_texts(part) for part in texts.PARTS}
    sizes = {part: sum(map(len, found)) for part, found in parts.items()}
    assert sum(sizes.values()) > 4e6
    assert sizes["train"] > sizes["fit"] > 2e5
    assert sizes["read"] > 2e5
    assert not set(parts["train"]) & set(parts["read"])
    assert not set(parts["fit"]) & set(parts["read"])
    assert any("statement" in text and "def " not in text for text in parts["train"]), "the manual is there"


def test_a_tokenizer_is_decided_by_its_texts(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    again = train_tokenizer([TEXT] * 3, 270, tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    strange = "naïve ∀x\n\tq"
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read.decode(read(strange).input_ids) == strange, "bytes are always there"
    assert len(read(TEXT).input_ids) < len(TEXT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": "python:all"}, ValueError, "one of train, fit, read, got 'all'"),
        ({"texts": "web:x"}, ValueError, "texts must be one of python:PART"),
        ({"texts": "hub:x"}, ValueError, "texts must be one of"),
        ({"texts": "files:/nowhere/*.txt"}, FileNotFoundError, "no file fits '/nowhere"),
        ({"windows": "some"}, ValueError, "'first' or 'all', got 'some'"),
        ({"context": 1}, ValueError, "context must be at least 2, got 1"),
        ({"n_texts": 0}, ValueError, "n_texts must be greater than or equal to 1, got 0"),
    ],
)
def test_errors_name_what_is_wrong(tokenizer, arguments, error, message):
    with pytest.raises(error, match=message):
        tokenize(Draw(**{"texts": "python:read", "n_texts": 3, "seed": 0} | arguments), tokenizer)


def test_too_small_a_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match="vocabulary must be above 256"):
        train_tokenizer(["a"], 200, tmp_path)
