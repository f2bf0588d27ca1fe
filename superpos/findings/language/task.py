"""The system under study: a causal language model with its tokenizer, and the sites at which it is read.

site         what is read there, of the width N of the residual stream
embed        the residual stream before the first layer (GPT-2: with positions)
attention.i  what the attention of layer i adds to the stream
mlp.i        what its MLP adds
residual.i   the stream after layer i
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from superpos.findings.language import releases
from superpos.findings.language.pretraining import small_model
from superpos.findings.language.texts import Tokens
from superpos.progress import silent_transformers
from superpos.settings import Count, one_of, settings

__all__ = ["KINDS", "Reading", "chosen_sites", "load_model", "loss_of", "outputs", "read_rows", "site_modules"]

KINDS = ("embed", "attention", "mlp", "residual")
FAMILIES = {  # embed, layer, attention, mlp
    "gpt_neox": ("gpt_neox.embed_in", "gpt_neox.layers.{}", "attention", "mlp"),
    "gpt2": ("transformer.drop", "transformer.h.{}", "attn", "mlp"),
    "llama": ("model.embed_tokens", "model.layers.{}", "self_attn", "mlp"),
}
FAMILIES |= dict.fromkeys(("mistral", "qwen2", "qwen3"), FAMILIES["llama"])
LOSS_TEXTS = 32  # texts on which the model's own loss is taken


def load_model(name: str, device: str = "cpu") -> Any:
    """A causal language model with its tokenizer, in float32 and evaluation mode, as an nnsight.TransformersModel.

    `name` is one of the Hugging Face hub (name@revision, as Pythia's training steps are published), a local folder in its
    format, or a small model of our own ("small:…", trained first if need be). Only safetensors are loaded. Raises
    FileNotFoundError, with the remedy, where model or network are missing, ValueError for a family that is not known.
    """
    import nnsight
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = small_model(name) if name.partition(":")[0] == "small" else _folder_of(name)
    with silent_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wrapped = nnsight.TransformersModel(model.to(device).eval(), task="text-generation", tokenizer=tokenizer)
    site_modules(wrapped)
    return wrapped


def _folder_of(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        repository, _, revision = name.partition("@")
        folder = releases.fetch(repository, ("*.json", "*.safetensors", "*.txt", "*.model"), revision or None)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{name} is no model in Hugging Face's format: it holds no config.json")
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{name} holds no safetensors, and pickles are not read because they could run any program; "
            "save it again with model.save_pretrained(FOLDER) of a current transformers, and name that folder"
        )
    return folder


@torch.no_grad()
def loss_of(model: Any, tokens: Tokens, n_texts: int = LOSS_TEXTS) -> float:
    """Mean loss of the model's next-token predictions on the first texts, in nats a token."""
    module = model._module
    device, total, count = next(module.parameters()).device, 0.0, 0
    for text in tokens.ids.split(tokens.lengths.tolist())[:n_texts]:
        ids = text.long()[None].to(device)
        logits = module(input_ids=ids).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += len(text) - 1
    return total / count


def site_modules(model: Any) -> dict[str, str]:
    """The name of every site's module, in the order in which a forward pass finishes them.

    Raises ValueError for a model of a family that is not known here.
    """
    config = model._module.config
    if config.model_type not in FAMILIES:
        raise ValueError(f"models of type {config.model_type!r} are not known here; known are {', '.join(FAMILIES)}")
    embed, layer, attention, mlp = FAMILIES[config.model_type]
    found = {"embed": embed}
    for i in range(config.num_hidden_layers):
        at = layer.format(i)
        found |= {f"attention.{i}": f"{at}.{attention}", f"mlp.{i}": f"{at}.{mlp}", f"residual.{i}": at}
    return found


def chosen_sites(model: Any, sites: str) -> dict[str, str]:
    """The modules of some sites: "all", or names or kinds separated by commas. Raises ValueError for an unknown one."""
    known = site_modules(model)
    words = list(KINDS) if sites == "all" else [word.strip() for word in sites.split(",")]
    for word in words:
        one_of("a site", word, (*known, *KINDS))
    return {site: name for site, name in known.items() if site in words or site.partition(".")[0] in words}


@torch.no_grad()
def outputs(
    model: Any, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], modules: dict[str, str]
) -> dict[str, Float[Tensor, "B T N"]]:
    """Activations at some sites, given with their modules in calling order; the pass stops after the last.

    `mask` is true for the tokens that are no padding. Raises ValueError, naming the site, for an output of another shape.
    """
    device = next(model._module.parameters()).device
    kept = {}

    def keep(site: str, output: Any) -> None:
        # a clone, because a later operation may change it in place
        kept[site] = (output[0] if isinstance(output, tuple | list) else output).detach().clone()

    with model.trace(input_ids=ids.to(device), attention_mask=mask.long().to(device)) as tracer:
        for site, name in modules.items():
            keep(site, model.get(name).output)
        tracer.stop()
    expected = (*ids.shape, model._module.config.hidden_size)
    for site, x in kept.items():
        if tuple(x.shape) != expected:
            raise ValueError(f"site {site} ({modules[site]}) gave shape {tuple(x.shape)}, expected {expected}")
    return kept


@settings
class Reading:
    """How sites are read.

    The first token of a text is read like the others or dropped. `products` is what encoders compute in, `n_rows` the number
    of tokens drawn for the baselines and the unexplained variance, `budget` the tokens of a batch, padding included.
    """

    first_token: Literal["keep", "drop"] = "keep"
    products: Literal["float32", "bfloat16"] = "float32"
    n_rows: Count = 2000
    budget: Count = 8192


def read_rows(
    model: Any, tokens: Tokens, modules: dict[str, str], reading: Reading, start: int = 0, stops: Collection[int] = ()
) -> Iterator[tuple[int, dict[str, Float[Tensor, "n N"]]]]:
    """Yield, for batches of texts (`Tokens.batches`), the number of the text after it, and the rows of its tokens by site.

    Padding is never read.
    """
    for number, ids, mask in tokens.batches(reading.budget, start, stops):
        seen = outputs(model, ids, mask, modules)
        mask[:, 0] &= reading.first_token == "keep"
        yield number + len(ids), {site: x[mask.to(x.device)] for site, x in seen.items()}
