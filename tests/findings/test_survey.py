"""A survey of a model's sites beside torch's own hooks and a dense computation, on three families of model."""

import subprocess
import sys
import time
import warnings
from pathlib import Path

import memory
import pandas as pd
import pytest
import torch

from superpos import metrics
from superpos.dictionaries import Dictionary
from superpos.findings.language import survey, task
from superpos.findings.language.analysis import curves
from superpos.findings.language.survey import Survey, collect, enough, marks
from superpos.findings.language.task import Reading, chosen_sites, outputs, site_modules
from superpos.findings.language.texts import Tokens
from superpos.usage import reading

N = 16
HERE = [str(folder) for folder in Path(__file__).parents[:2]]


def wrapped(family="gpt_neox", seed=0, **options):
    """A random model of two layers and 16 neurons, as nnsight wraps it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nnsight
        import transformers as t
    size = {"vocab_size": 60, "bos_token_id": 0, "eos_token_id": 0} | options
    usual = {"hidden_size": N, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "gpt_neox":
            model = t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**usual, **size))
        elif family == "gpt2":
            model = t.GPT2LMHeadModel(t.GPT2Config(n_embd=N, n_layer=2, n_head=2, n_positions=64, **size))
        elif family == "llama":
            model = t.LlamaForCausalLM(t.LlamaConfig(**usual, **size))
        else:
            model = t.OPTForCausalLM(
                t.OPTConfig(hidden_size=N, num_hidden_layers=1, num_attention_heads=2, ffn_dim=8, **size)
            )
    return nnsight.NNsight(model.eval())


def tokens(lengths=(7, 12, 3, 9, 12, 5), seed=0):
    lengths = torch.tensor(lengths)
    ids = torch.randint(60, (int(lengths.sum()),), generator=torch.Generator().manual_seed(seed))
    several = Tokens(ids.int(), lengths)
    several.ids[several.starts] = torch.arange(len(lengths), dtype=torch.int32) % 60  # no two begin alike
    return several


def dictionary(seed=0, n_codes=40, **options):
    g = torch.Generator().manual_seed(seed)
    W, V = (torch.randn(n_codes, N, generator=g) for _ in range(2))
    c = torch.randn(N, generator=g) * 0.01
    return Dictionary(W, -0.01 * torch.ones(n_codes), V, c, c, name=f"random {seed}", **options)


def surveyed(model, several, dictionaries, seed=0, path="", **reading):
    """A survey that has not run yet."""
    return Survey(model, several, dictionaries, Reading(**reading), seed, path)


def by_hooks(model, text, name):
    """What torch's own hook sees of one unpadded text at a module. → (T, N)"""
    seen = []
    module = dict(model._module.named_modules())[name]
    hook = module.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        model._module(input_ids=text.long()[None])
    hook.remove()
    (x,) = seen
    return x[0]


def texts_of(tokens):
    return tokens.ids.split(tokens.lengths.tolist())


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2", "llama"])
def test_sites_are_what_hooks_see(family):
    """Of padded batches, the rows of each text alone; and the stream is what transformers itself calls hidden states."""
    model, several = wrapped(family), tokens()
    modules = site_modules(model)
    assert list(modules) == ["embed", "attention.0", "mlp.0", "residual.0", "attention.1", "mlp.1", "residual.1"]
    rows = {site: [] for site in modules}
    for _, ids, mask in several.batches(40):
        for site, x in outputs(model, ids, mask, modules).items():
            rows[site].append(x[mask])
    for site, name in modules.items():
        alone = torch.cat([by_hooks(model, text, name) for text in texts_of(several)])
        torch.testing.assert_close(torch.cat(rows[site]), alone, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        text = texts_of(several)[0].long()[None]
        states = model._module(input_ids=text, output_hidden_states=True).hidden_states
    torch.testing.assert_close(torch.cat(rows["embed"])[:7], states[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat(rows["residual.0"])[:7], states[1][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2", "llama"])
def test_the_stream_is_the_sum_of_what_is_added(family):
    model, several = wrapped(family), tokens()
    _, ids, mask = next(several.batches(100))
    x = outputs(model, ids, mask, site_modules(model))
    total = x["embed"] + x["attention.0"] + x["mlp.0"]
    torch.testing.assert_close(total, x["residual.0"], rtol=1e-4, atol=1e-5)


def test_a_family_that_is_not_known_is_named():
    with pytest.raises(ValueError, match=r"type 'opt' are not known here; known are gpt_neox, gpt2, llama"):
        site_modules(wrapped("opt"))


def test_sites_by_name_and_by_kind():
    model = wrapped()
    assert list(chosen_sites(model, "mlp, residual.1")) == ["mlp.0", "mlp.1", "residual.1"]
    assert len(chosen_sites(model, "all")) == 7
    with pytest.raises(ValueError, match=r"a site must be one of embed, attention.0, .*, got 'mlp.9'"):
        chosen_sites(model, "mlp.9")


def test_an_output_of_another_shape_is_named():
    model, several = wrapped(), tokens()
    _, ids, mask = next(several.batches(100))
    with pytest.raises(
        ValueError, match=r"site mlp.0 \(gpt_neox.layers.0.mlp.dense_h_to_4h\) gave shape \(6, 12, 32\)"
    ):
        outputs(model, ids, mask, {"mlp.0": "gpt_neox.layers.0.mlp.dense_h_to_4h"})


def dense(model, several, site, one, drop=False):
    name = site_modules(model)[site]
    return torch.cat([by_hooks(model, text, name)[int(drop) :] for text in texts_of(several)])


@pytest.mark.parametrize("first_token", ["keep", "drop"])
@pytest.mark.parametrize("k", [None, 3])
def test_a_survey_is_the_dense_computation(first_token, k):
    """Padded batches and running sums against every code of every token of every text alone."""
    model, several = wrapped(), tokens()
    ones = {site: dictionary(i, k=k) for i, site in enumerate(["residual.1", "embed", "mlp.0"])}
    rows = surveyed(model, several, ones, first_token=first_token, n_rows=20, budget=40).run().rows()
    assert [row["site"] for row in rows] == ["embed", "mlp.0", "residual.1"]
    for row in rows:
        x = dense(model, several, row["site"], ones, first_token == "drop")
        z = ones[row["site"]].encode(x)
        p = metrics.code_shares(z * ones[row["site"]].dictionary.norm(dim=1))
        assert row["n_tokens"] == len(x) == 48 - (6 if first_token == "drop" else 0)
        assert row["effective_features"] == pytest.approx(metrics.effective_features(p), rel=1e-4)
        assert row["psi"] == pytest.approx(row["effective_features"] / N)
        assert (row["hill_0"], row["dead"]) == ((p > 0).sum(), pytest.approx((p == 0).mean()))
        assert row["hill_2"] == pytest.approx(metrics.hill_number(p, 2), rel=1e-4)
        assert row["l0"] == pytest.approx(float((z > 0).sum()) / len(x), rel=1e-6)
        assert (row["kind"], row["layer"]) in {("embed", -1), ("mlp", 0), ("residual", 1)}
        assert row["n_neurons"] == N
        assert row["n_codes"] == 40


def test_budgets_and_padding_change_nothing():
    model, several = wrapped("gpt2"), tokens()
    a, b = (surveyed(model, several, {"mlp.1": dictionary()}, n_rows=30, budget=n).run().rows()[0] for n in (1, 1000))
    for name in a:
        assert a[name] == (pytest.approx(b[name], rel=1e-4) if isinstance(a[name], float) else b[name]), name


def test_reconstruction_and_baselines_are_those_of_the_rows_drawn():
    model, several, one = wrapped(), tokens(), dictionary()
    found = surveyed(model, several, {"mlp.0": one}, n_rows=48, budget=30).run()
    x = dense(model, several, "mlp.0", one)
    torch.testing.assert_close(found.drawn.x["mlp.0"], x, rtol=1e-4, atol=1e-6)
    row = found.rows()[0]
    assert row["fvu"] == pytest.approx(reading(one, x)["fvu"], rel=1e-4)
    assert row["effective_rank"] == pytest.approx(metrics.effective_rank(x - x.mean(0)), rel=1e-4)
    assert row["participation_ratio"] == pytest.approx(metrics.participation_ratio(x), rel=1e-4)


def test_rows_that_are_equal_but_for_rounding_are_one_to_twonn():
    """The first MLP of a GPT-NeoX sees the token alone: 48 tokens of 60 kinds are fewer rows than tokens."""
    model, several = wrapped(), tokens()
    row = surveyed(model, several, {"mlp.0": dictionary()}, n_rows=48, budget=30).run().rows()[0]
    kinds = dense(model, several, "mlp.0", None)[[several.ids.tolist().index(i) for i in several.ids.unique()]]
    assert len(kinds) < 40
    assert row["intrinsic_dimension"] == pytest.approx(metrics.two_nn(kinds), rel=1e-3)


def test_the_curve_is_that_of_the_first_texts():
    model, several, one = wrapped(), tokens(), dictionary()
    row = surveyed(model, several, {"mlp.0": one}, n_rows=9).run().rows()[0]
    assert row["curve_texts"] == "1 2 5 6"
    name, texts = site_modules(model)["mlp.0"], texts_of(several)
    for n, value, active in zip((1, 2, 5, 6), row["curve_features"].split(), row["curve_hill_0"].split(), strict=True):
        z = one.encode(torch.cat([by_hooks(model, text, name) for text in texts[:n]]))
        p = metrics.code_shares(z * one.dictionary.norm(dim=1))
        assert float(value) == pytest.approx(metrics.effective_features(p), rel=1e-4)
        assert float(active) == (p > 0).sum()
    assert float(value) == pytest.approx(row["effective_features"], rel=1e-5)


def test_any_object_with_encode_can_be_surveyed():
    class Signs:
        def encode(self, x):
            return torch.cat([x.relu(), (-x).relu()], 1)

    model, several = wrapped(), tokens()
    row = surveyed(model, several, {"mlp.0": Signs()}, n_rows=9).run().rows()[0]
    p = metrics.code_shares(Signs().encode(dense(model, several, "mlp.0", None)))
    assert row["effective_features"] == pytest.approx(metrics.effective_features(p), rel=1e-4)
    assert row["fvu"] != row["fvu"]


def test_rows_to_fit_are_the_same_tokens_everywhere():
    model, several = wrapped(), tokens()
    modules = site_modules(model)
    a, b, c = (collect(model, several, modules, 20, Reading(budget=30), seed) for seed in (1, 1, 2))
    whole = collect(model, several, modules, 48, Reading(), 0)
    for site, name in modules.items():
        assert torch.equal(a[site], b[site])
        alone = torch.cat([by_hooks(model, text, name) for text in texts_of(several)])
        torch.testing.assert_close(whole[site], alone, rtol=1e-4, atol=1e-5)
    places = [(whole["residual.1"] - row).abs().sum(1).argmin().item() for row in a["residual.1"]]
    assert len(set(places)) == 20
    assert torch.equal(a["embed"], whole["embed"][places])
    assert not torch.equal(a["mlp.0"], c["mlp.0"])
    with pytest.raises(ValueError, match="49 rows were asked for, the texts have 48 tokens"):
        collect(model, several, modules, 49, Reading(), 0)


class StopHereError(Exception):
    pass


def test_a_survey_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "SAVED", 0)
    model, several, ones = wrapped(), tokens(), {"mlp.0": dictionary(), "residual.1": dictionary(1, k=3)}
    options = {"n_rows": 20, "budget": 12, "path": tmp_path / "survey.safetensors"}
    whole = surveyed(model, several, ones, **options | {"path": ""}).run().rows()
    stopped = surveyed(model, several, ones, **options)
    save, count = Survey._save, []

    def fails(self):
        save(self)
        count.append(1)
        if len(count) == 3:
            raise StopHereError

    with monkeypatch.context() as patch:
        patch.setattr(Survey, "_save", fails)
        with pytest.raises(StopHereError):
            stopped.run()
    again = surveyed(model, several, ones, **options)
    seen = []
    monkeypatch.setattr(task, "outputs", lambda *args: seen.append(len(args[1])) or outputs(*args))
    rows = again.run().rows()
    assert 0 < sum(seen) < len(several), "only the texts that were left"
    for one, other in zip(rows, whole, strict=True):
        for name in one:
            assert one[name] == (
                pytest.approx(other[name], rel=1e-6) if isinstance(one[name], float) else other[name]
            ), name
    with pytest.raises(ValueError, match="another survey: seed, first_token differ; name another file"):
        surveyed(model, several, ones, **options | {"seed": 3, "first_token": "drop"}).run()
    others = {"mlp.0": dictionary(7), "residual.1": dictionary(1, k=3)}
    with pytest.raises(ValueError, match="another survey: dictionaries differ"):
        surveyed(model, several, others, **options).run()
    with pytest.raises(ValueError, match="another survey: model differ"):
        surveyed(wrapped(seed=1), several, ones, **options).run()
    with pytest.raises(ValueError, match="another survey: texts differ"):
        surveyed(model, several.shuffled(1), ones, **options).run()


def test_a_killed_survey_leaves_a_whole_checkpoint(tmp_path):
    code = f"""
import sys
sys.path[:0] = {HERE!r}
import test_survey as t
t.survey.SAVED = 0
path = {str(tmp_path / "s")!r}
t.surveyed(t.wrapped(), t.tokens([9] * 50_000), {{"mlp.0": t.dictionary()}}, n_rows=9, budget=18, path=path).run()
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "s").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    again = surveyed(wrapped(), tokens([9] * 50_000), {"mlp.0": dictionary()}, n_rows=9, budget=18, path=tmp_path / "s")
    again._resume()
    assert 0 < again.done < 50_000
    assert again.usages["mlp.0"].n_rows == 9 * again.done


def test_nothing_grows_with_the_number_of_tokens():
    """20,000 tokens × 8,192 codes would be 625 MiB."""
    before = """
import test_survey as t
model, ones = t.wrapped(), dict.fromkeys(["mlp.0", "embed"], t.dictionary(n_codes=8192))
run = lambda n: t.surveyed(model, t.tokens([50] * n), ones, n_rows=9, budget=2000).run()
run(40)
"""
    assert memory.growth(before, "run(400)", HERE) < 60


def test_numbers_of_texts_where_f_is_noted():
    assert marks(1) == [1]
    assert marks(120) == [1, 2, 5, 10, 20, 50, 100, 120]


def test_what_is_enough():
    assert enough("1 2 5 10 20", "1 4 9.9 9.9 10") == 5
    assert enough("1 2 5 10 20", "10 4 9.9 9.9 10") == 5, "back and forth does not count"
    assert enough("1 2 5 10 15", "1 2 5 9.9 10") != enough("1 2 5 10 15", "1 2 5 9.9 10"), "NaN: it settled too late"
    assert enough("1 2 5 10 20", "1 2 5 9.9 10", tolerance=0.5) == 5


def test_curves_are_the_words_of_the_rows():
    words = {"curve_texts": "1 2", "curve_features": "3.5 4", "curve_hill_0": "5 6", "curve_hill_2": "2 2.5"}
    table = curves(pd.DataFrame([{"site": "mlp.0", "codes ever active": 9.0, "F": 4.0, **words}]))
    known = {"n_texts_read": [1, 2], "F": [3.5, 4], "codes ever active": [5, 6], "Hill number 2": [2, 2.5]}
    assert table.to_dict("list") == known | {"site": ["mlp.0"] * 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dictionaries": {"mlp.7": dictionary()}}, r"the site of a dictionary must be one of embed, .*, got 'mlp.7'"),
        ({"dictionaries": {}}, "no dictionary given"),
        ({"dictionaries": {"mlp.0": Dictionary(torch.ones(4, 3), torch.ones(4), torch.ones(4, 3), torch.ones(3))}},
         "reads 3 neurons, but the site mlp.0 has 16"),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        surveyed(wrapped(), tokens(), **{"dictionaries": {"mlp.0": dictionary()}} | options)
