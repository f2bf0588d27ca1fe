"""The run behind the chapter: a model by folder, dictionaries in both published formats and of our own, rows."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import material
from superpos import metrics, sae, sweep
from superpos.data import data_root
from superpos.dictionaries import Dictionary
from superpos.findings.language import analysis, pretraining, releases, runs, survey, texts
from superpos.findings.language.runs import FittedRun, LanguageRun, language_run
from superpos.findings.language.task import Reading, load_model, loss_of, site_modules
from superpos.findings.language.texts import Draw, tokenize, train_tokenizer
from superpos.progress import silent_transformers
from superpos.settings import build

N = 16
SITES = ["embed", "attention.0", "mlp.0", "residual.0", "attention.1", "mlp.1", "residual.1"]
SMALL = "small:layers=1,width=16,vocabulary=300,context=16,steps=5,batch=2"
FIT = {"fit_texts": "python:fit", "n_fit_texts": 30, "fit_rows": 300, "sae_steps": 20, "context": 16, "windows": "all"}


def read(model, dictionaries, texts, seed, n_texts, *, folder=None, **options):
    """The rows of one run, given by its settings side by side."""
    kind = FittedRun if dictionaries.startswith("fit:") else LanguageRun
    asked = {"model": model, "dictionaries": dictionaries, "texts": texts, "seed": seed, "n_texts": n_texts}
    return language_run(build(kind, **asked, **options), folder=folder)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A place of its own for models and checkpoints, and a few texts in place of Python's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERPOS_DATA", str(tmp_path_factory.mktemp("data")))
        words = {"train": "def f", "fit": "class A", "read": "import x"}
        several = lambda part: [f"{words[part]}{i}: return {i * j} + {j}\n" * 9 for i in range(9) for j in range(9)]  # noqa: E731
        patch.setattr(texts, "python_texts", several)
        patch.setattr(pretraining, "python_texts", several)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random GPT-NeoX of two layers and its tokenizer, as transformers saves them."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    folder = tmp_path_factory.mktemp("model")
    train_tokenizer(texts.python_texts("train"), 300, folder)
    with torch.random.fork_rng(devices=[]), silent_transformers():
        torch.manual_seed(0)
        config = GPTNeoXConfig(
            vocab_size=300, hidden_size=N, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        GPTNeoXForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    """Folders of dictionaries with the published names, 19 or 18 places where the model has 7 or 6."""
    root = tmp_path_factory.mktemp("saes")
    for i, site in enumerate(SITES):
        material.save_saelens(dictionary(i), releases.locate("marks", site, root))
        if site != "embed":
            material.save_sparsify(dictionary(i, k=3), releases.locate("eleuther", site, root))
    return str(root)


def dictionary(seed, n_codes=64, **options):
    g = torch.Generator().manual_seed(seed)
    W, V = (torch.randn(n_codes, N, generator=g) for _ in range(2))
    c = 0.01 * torch.randn(N, generator=g)
    return Dictionary(W, -0.01 * torch.ones(n_codes), V, c, c, **options)


def test_published_dictionaries_end_to_end(folder, saes):
    """The same command with the hub's names is the documented one: here its names stand before a folder."""
    marks, eleuther = (
        pd.DataFrame(read(folder, f"{name}@{saes}", "python:read", 0, 12, context=16)) for name in ("marks", "eleuther")
    )
    assert marks.site.tolist() == SITES
    assert eleuther.site.tolist() == SITES[1:]
    assert (eleuther.l0 <= 3).all()
    model = load_model(folder)
    tokens = tokenize(Draw("python:read", 12, seed=0, context=16), model.tokenizer)
    assert (marks.n_tokens == len(tokens.ids)).all()
    x = survey.collect(model, tokens, site_modules(model), len(tokens.ids), Reading(), 0)
    for table, k in ((marks, None), (eleuther, 3)):
        for row in table.itertuples():
            one = dictionary(SITES.index(row.site), k=k)
            p = metrics.code_shares(one.encode(x[row.site]) * one.dictionary.norm(dim=1))
            assert row.effective_features == pytest.approx(metrics.effective_features(p), rel=1e-4), row.site
            assert row.n_codes == 64
    assert (marks.loss - torch.tensor(300.0).log().item()).abs().max() < 0.5, "an untrained model guesses"
    assert marks.loss[0] == pytest.approx(loss_of(model, tokens))


def test_dictionaries_of_our_own(tmp_path):
    """Kept by run and site, so a path with {site} reads them again: the same F."""
    rows = read(SMALL, "fit:l1", "python:read", 3, 20, **FIT, expansion=2)
    table = pd.DataFrame(rows)
    assert table.site.tolist() == SITES[:4]
    assert (table.n_codes == 32).all()
    assert table.effective_features.between(1, 32).all()
    model = load_model(SMALL)
    cut = {"context": 16, "windows": "all"}
    sample = tokenize(Draw("python:fit", 30, seed=3, **cut), model.tokenizer, "language.fit_windows")
    modules = site_modules(model)
    x = survey.collect(model, sample, modules, 300, Reading(), 3)
    config = sae.PROTOCOL.but(steps=20, expansion=2.0)
    for site in modules:
        sae.fit(x[site], config, seed=3).save(tmp_path / f"{site}.safetensors")
    again = read(SMALL, f"{tmp_path}/{{site}}.safetensors", "python:read", 3, 20, **cut)
    for one, other in zip(rows, again, strict=True):
        assert one["effective_features"] == pytest.approx(other["effective_features"], rel=1e-5)
        assert one["fvu"] == pytest.approx(other["fvu"], rel=1e-4)


def test_products_are_those_of_fit_and_reading(monkeypatch):
    fit, seen = sae.fit, []
    monkeypatch.setattr(sae, "fit", lambda x, config, **more: seen.append(config.products) or fit(x, config, **more))
    options = FIT | {"sites": "residual.0", "sae_steps": 100}
    half, whole = (
        read(SMALL, "fit:l1", "python:read", 0, 20, products=p, **options)[0] for p in ("bfloat16", "float32")
    )
    assert seen == ["bfloat16", "float32"]
    assert half["effective_features"] == pytest.approx(whole["effective_features"], rel=0.1)
    assert half["effective_features"] != whole["effective_features"]


def test_dictionaries_that_are_kept_are_not_fitted_again(monkeypatch, tmp_path):
    """Kept by what decides a fit: the same for texts in order and in disorder, others for another λ."""
    fit, labels = sae.fit, []
    monkeypatch.setattr(
        sae, "fit", lambda *args, label, **more: labels.append(label) or fit(*args, label=label, **more)
    )

    def run(**changes):
        labels.clear()
        rows = read(SMALL, "fit:l1", "python:read", 0, 20, **FIT | {"sites": "mlp,residual"} | changes)
        return [row["effective_features"] for row in rows], list(labels)

    alone, fitted = run()
    assert fitted == ["mlp.0", "residual.0"]
    assert run(folder=tmp_path, sites="mlp.0") == (alone[:1], ["mlp.0"])
    assert run(folder=tmp_path) == (alone, ["residual.0"])
    assert run(folder=tmp_path, shuffled="read")[1] == []
    assert run(folder=tmp_path, shuffled="both")[1] == ["mlp.0", "residual.0"]
    weak, fitted = run(folder=tmp_path, l1=0.01)
    assert fitted == ["mlp.0", "residual.0"]
    assert weak != alone
    assert not any((data_root() / "language" / "runs").iterdir())


def test_topk_dictionaries_of_our_own():
    table = pd.DataFrame(read(SMALL, "fit:topk", "python:read", 3, 20, **FIT, expansion=2, k=4, sites="mlp,embed"))
    assert table.site.tolist() == ["embed", "mlp.0"]
    assert (table.l0 <= 4).all()
    assert (table.l0 > 2).all()


def test_shuffled_texts_are_read_and_fitted_when_asked():
    columns = {}
    for shuffled in ("none", "read", "both"):
        (row,) = read(SMALL, "fit:l1", "python:read", 0, 20, **FIT, sites="residual.0", shuffled=shuffled)
        columns[shuffled] = row
    F = {name: row["effective_features"] for name, row in columns.items()}
    assert len(set(F.values())) == 3
    assert columns["none"]["n_tokens"] == columns["both"]["n_tokens"]
    assert columns["both"]["loss"] == columns["read"]["loss"] != columns["none"]["loss"]


def test_the_first_token_is_dropped_when_asked(folder, saes):
    rows = {
        name: read(folder, f"marks@{saes}", "python:read", 0, 12, context=16, sites="mlp.0", first_token=name)[0]
        for name in ("keep", "drop")
    }
    assert rows["keep"]["n_tokens"] - rows["drop"]["n_tokens"] == 12
    assert rows["keep"]["effective_features"] != rows["drop"]["effective_features"]


def test_a_stopped_run_goes_on_and_leaves_nothing(monkeypatch):
    options = FIT | {"sites": "mlp.0,residual.0"}
    whole = read(SMALL, "fit:l1", "python:read", 5, 20, **options)
    fit, labels = sae.fit, []

    def fails(x, *args, label, **kwargs):
        labels.append(label)
        if label == "residual.0":
            raise KeyboardInterrupt
        return fit(x, *args, label=label, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sae, "fit", fails)
        with pytest.raises(KeyboardInterrupt):
            read(SMALL, "fit:l1", "python:read", 5, 20, **options)
    labels.clear()
    monkeypatch.setattr(
        sae, "fit", lambda *args, label, **more: labels.append(label) or fit(*args, label=label, **more)
    )
    again = read(SMALL, "fit:l1", "python:read", 5, 20, **options)
    assert labels == ["residual.0"]
    for one, other in zip(whole, again, strict=True):
        assert one["effective_features"] == pytest.approx(other["effective_features"], rel=1e-6)
    assert not list((data_root() / "language" / "runs").iterdir())


def test_rows_go_through_a_sweep(folder, saes, tmp_path):
    shared = {"model": folder, "dictionaries": f"marks@{saes}", "texts": "python:read", "n_texts": 6, "context": 16}
    several = sweep.expand(LanguageRun, seed=[0, 1], sites="mlp", **shared)
    table = sweep.run(language_run, several, tmp_path / "rows.csv", n_jobs=1)
    assert len(table) == 4
    assert table.groupby("seed").effective_features.first().nunique() == 2, "each seed draws its own texts"
    assert sweep.read(tmp_path / "rows.csv").curve_texts.tolist() == ["1 2 5 6"] * 4
    assert len(analysis.curves(table)) == 16


def test_a_revision_of_the_hub_is_asked_for(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(releases, "fetch", lambda name, _, revision: asked.append((name, revision)) or Path(folder))
    for name in ("EleutherAI/pythia-70m-deduped@step0", "EleutherAI/pythia-70m-deduped"):
        load_model(name)
    assert asked == [("EleutherAI/pythia-70m-deduped", "step0"), ("EleutherAI/pythia-70m-deduped", None)]


def test_revisions_of_the_hub_are_kept():
    path = "/cache/huggingface/hub/models--EleutherAI--sae/snapshots/1a2b3c/layers.0"
    assert runs._revision(path) == runs._revision(path[: path.index("/layers")]) == "1a2b3c"
    assert runs._revision("/data/saes/layers.0") == ""


def test_a_model_that_cannot_be_had_is_named(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match=r"EleutherAI/pythia-70m-deduped is not in the local cache .* --local-dir"
    ):
        load_model("EleutherAI/pythia-70m-deduped")
    with pytest.raises(FileNotFoundError, match=r"marks has no|not in the local cache"):
        read(SMALL, "marks", "python:read", 0, 3, context=16)
    with pytest.raises(FileNotFoundError, match=r"no model in Hugging Face's format: it holds no config.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"holds no safetensors, and pickles are not read .*save_pretrained"):
        load_model(str(tmp_path))


def test_a_family_that_is_not_known_is_named(tmp_path):
    from transformers import OPTConfig, OPTForCausalLM

    train_tokenizer(["a b c"], 260, tmp_path)
    with silent_transformers():
        OPTForCausalLM(
            OPTConfig(
                vocab_size=260,
                hidden_size=8,
                word_embed_proj_dim=8,
                ffn_dim=8,
                num_hidden_layers=1,
                num_attention_heads=1,
            )
        ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="type 'opt' are not known here"):
        load_model(str(tmp_path))


def test_dictionaries_of_another_model_are_named(folder, tmp_path):
    wide = Dictionary(torch.ones(8, 512), torch.ones(8), torch.ones(8, 512), torch.zeros(512))
    material.save_saelens(wide, tmp_path / "0-mlp-sm")
    with pytest.raises(
        ValueError, match=r"0-mlp-sm reads 512 neurons, but the site mlp.0 has 16: name the dictionaries of"
    ):
        read(folder, f"marks@{tmp_path}", "python:read", 0, 3, context=16, sites="mlp.0")
    with pytest.raises(FileNotFoundError, match=r"there is no dictionary at .*1-mlp-sm"):
        read(folder, f"marks@{tmp_path}", "python:read", 0, 3, context=16, sites="mlp.1")
    with pytest.raises(ValueError, match=r"has no dictionary for embed"):
        read(folder, f"eleuther@{tmp_path}", "python:read", 0, 3, context=16, sites="embed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shuffled": "yes"}, "shuffled must be 'none', 'read' or 'both', got 'yes'"),
        ({"first_token": "skip"}, "first_token must be 'keep' or 'drop', got 'skip'"),
        ({"products": "int8"}, "products must be 'float32' or 'bfloat16', got 'int8'"),
        ({"dictionaries": "fit:gated"}, "dictionaries must be 'fit:l1' or 'fit:topk', got 'fit:gated'"),
        ({"fit_texts": ""}, "texts must be one of python:PART"),
        ({"fit_texts": "python:read"}, "fit_texts must be another source than the 'python:read' that are read"),
        ({"n_fit_texts": 0}, "n_fit_texts must be greater than or equal to 1, got 0"),
        ({"dictionaries": "marks"}, "LanguageRun has no 'fit_texts'"),
        ({"sites": "mlp.4"}, "a site must be one of embed, attention.0, .*, got 'mlp.4'"),
        ({"context": 64}, "context must be at most the 16 tokens"),
        ({"fit_rows": 10**6}, "1000000 rows were asked for, the texts have"),
        ({"n_texts": 10**6}, "1000000 were asked for"),
    ],
)
def test_errors_come_before_work(changes, message, monkeypatch):
    monkeypatch.setattr(sae, "fit", lambda *_, **__: pytest.fail("an SAE was fitted"))
    with pytest.raises((ValueError, TypeError), match=message):
        read(
            **{
                "model": SMALL,
                "dictionaries": "fit:l1",
                "texts": "python:read",
                "seed": 0,
                "n_texts": 5,
                **FIT,
                **changes,
            }
        )


def test_released_dictionaries_cannot_be_fitted_to_disorder():
    with pytest.raises(ValueError, match="shuffled must be 'none' or 'read' for marks, which are not fitted"):
        LanguageRun(SMALL, "marks", Draw("python:read", 3, seed=0), shuffled="both")


def test_the_grid_of_the_chapter():
    """Every network five times; what is fitted has the network's seed; one change at a time."""
    model = {"layers": 1, "width": 16, "vocabulary": 300, "context": 16, "steps": 5, "batch": 2}
    several = runs.grid(2, model, n_texts=20, sae_steps=20, k=4)
    assert len(several) == 10
    assert several[0].model == f"{SMALL},seed=1"
    assert {one.draw.seed for one in several if one.model.endswith("seed=2")} == {2}
    assert [one.shuffled for one in several] == ["none"] * 6 + ["both"] * 2 + ["read"] * 2
    assert [",steps=0," in one.model for one in several] == [i in (4, 5) for i in range(10)]
    assert (several[0].sae.l1, several[0].sae.k, several[2].sae.loss, several[2].sae.k) == (0.5, None, "mse", 4)
    half, topk, third = runs.varied(several[0], ["half λ", "TopK, twice k", "third seed"], "mlp")
    assert (half.fit.l1, topk.dictionaries, topk.sae.k, third.draw.seed) == (0.25, "fit:topk", 8, 1002)
    assert half.but(l1=0.5, sites="all") == several[0]


def test_nothing_is_printed(folder, saes, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        read(folder, f"marks@{saes}", "python:read", 0, 3, context=16, sites="mlp.0")
    assert capfd.readouterr() == ("", "")
