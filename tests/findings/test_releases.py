"""Where released dictionaries lie, and what is said where they cannot be had or do not fit."""

import pytest
import torch

from benchmarks import material
from superpos.dictionaries import Dictionary
from superpos.findings.language import releases


def random_(n_codes=48, n_neurons=8):
    W = torch.randn(n_codes, n_neurons, generator=torch.Generator().manual_seed(0))
    return Dictionary(W, torch.zeros(n_codes), W, torch.zeros(n_neurons))


def test_a_dictionary_of_another_width_or_hook_is_named(tmp_path):
    material.save_saelens(random_(), tmp_path, hook="blocks.3.hook_mlp_out")
    assert torch.equal(releases.load(tmp_path, 8, "mlp.3").encoder, random_().encoder)
    with pytest.raises(ValueError, match=r"reads 8 neurons, but the site mlp.3 has 512: name the dictionaries of this"):
        releases.load(tmp_path, 512, "mlp.3")
    with pytest.raises(ValueError, match=r"fitted at blocks.3.hook_mlp_out, which is not the site mlp.2"):
        releases.load(tmp_path, 8, "mlp.2")


def test_places_of_the_published_dictionaries(tmp_path, monkeypatch):
    asked = []
    for layer in range(6):
        for folder in ("e-res-sm", f"{layer}-att-sm", f"{layer}-mlp-sm", f"{layer}-res-sm", f"layers.{layer}.mlp"):
            (tmp_path / folder).mkdir(exist_ok=True)
    monkeypatch.setattr(releases, "fetch", lambda name, patterns: asked.append((name, patterns)) or tmp_path)
    sites = ["embed", *(f"{kind}.{layer}" for layer in range(6) for kind in ("attention", "mlp", "residual"))]
    found = [releases.locate("marks", site) for site in sites]
    assert len(set(found)) == 19
    assert [path.name for path in found[:4]] == ["e-res-sm", "0-att-sm", "0-mlp-sm", "0-res-sm"]
    assert asked[1] == ("ctigges/pythia-70m-deduped__att-sm_processed", ["0-att-sm/*.json", "0-att-sm/*.safetensors"])
    with pytest.raises(FileNotFoundError, match=r"eleuther has no dictionary for mlp.9: .* holds no layers.9.mlp"):
        releases.locate("eleuther", "mlp.9")
    assert releases.locate("eleuther", "embed") is None
    assert releases.locate("eleuther", "mlp.5") == tmp_path / "layers.5.mlp"
    assert releases.locate("eleuther", "residual.2", root="here").as_posix() == "here/layers.2"
    with pytest.raises(ValueError, match=r"must be one of marks, eleuther, or a path with \{site\}"):
        releases.locate("gemma", "mlp.0")


def test_without_a_network_the_remedy_is_named(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match=r"not in the local cache .*hf download .* --local-dir FOLDER.*marks@FOLDER"
    ):
        releases.locate("marks", "mlp.0")
    with pytest.raises(FileNotFoundError, match="no name on the hub"):
        releases.fetch("/no/such/folder/at all")
