"""The networks, what they are read on, and how good they are at what they are for.

minilm        all-MiniLM-L6-v2 (Wang et al. 2020), six layers of 384 neurons; paragraphs. Good at: of paragraphs cut in two, how
              often the second half is found by the first
smollm2       SmolLM2-135M-Instruct (Allal et al. 2025) in 4-bit weights, 30 layers of 576 neurons; paragraphs. Loss, nats a token
efficientnet  EfficientNet-Lite0 (Tan and Le 2019), 16 blocks of 16 to 320 channels; images. How often the image whose last layer
              is nearest is of the same class
crepe         CREPE-tiny (Kim et al. 2018), six blocks of 16 to 128 channels; pure tones. How often it hears them to 50 cents

Paragraphs are those of Python's manual (pydoc_data); images are those of a data set of `superpos.data`, or cuttings of the two
photographs that scikit-learn brings. The untrained twin is the same architecture as its library draws it, from the seed.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from superpos import data, seeds
from superpos.findings.pretrained.files import folder_of
from superpos.findings.pretrained.tones import Crepe, heard, tones
from superpos.progress import silent_transformers
from superpos.settings import one_of

__all__ = ["NETWORKS", "Network", "images", "load", "paragraphs"]

TOKENS = 128  # of a paragraph that are read
LEAST = 200  # characters of a paragraph
SIZE = 224  # pixels of an image's side


@dataclass
class Network:
    """A network, the names of its layers from the first to the last, data for `read_activations`, and how it is read.

    `quality` gives how good it is at what it is for (see the head of this module); `how` holds further arguments of
    `read_activations`; the `tokenizer` is of networks that read texts.
    """

    model: nn.Module
    layers: list[str]
    data: Any
    quality: Callable[[], float]
    how: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None


def load(
    network: str, trained: bool, n_inputs: int, seed: int, images: str = "cifar10", device: str = "cpu"
) -> Network:
    """One of NETWORKS as published, or untrained, with data drawn by the seed; `images` names those of one that reads images.

    Raises ValueError for a name that is not known or too few data, FileNotFoundError for weights that are not installed.
    """
    one_of("network", network, NETWORKS)
    with torch.random.fork_rng(devices=[]), silent_transformers():
        torch.manual_seed(seeds.seed("pretrained.weights", seed))
        return NETWORKS[network](trained, n_inputs, seed, images, torch.device(device))


def paragraphs(n: int, seed: int) -> list[str]:
    """n different paragraphs of Python's manual, of at least LEAST characters. Raises ValueError where there are fewer."""
    from pydoc_data.topics import topics

    pieces = (" ".join(piece.split()) for name in sorted(topics) for piece in re.split(r"\n\s*\n", topics[name]))
    return _drawn("paragraphs", list(dict.fromkeys(piece for piece in pieces if len(piece) >= LEAST)), n, seed)


def images(name: str, n: int, seed: int) -> data.LabelledImages:
    """n images of 224 × 224 pixels, in [0, 1]: "photographs" are cuttings of scikit-learn's two; else test images of
    `superpos.data.load`, of three colours, made as large.
    """
    from torchvision.transforms.functional import resize

    if name != "photographs":
        drawn = data.load(name)[1].take(n, seeds.seed("pretrained.inputs", seed))
        return data.LabelledImages(resize(drawn.images, [SIZE, SIZE], antialias=True), drawn.labels, drawn.classes)
    from sklearn.datasets import load_sample_images

    photographs = [torch.tensor(one).permute(2, 0, 1).float() / 255 for one in load_sample_images().images]
    generator = seeds.generator("pretrained.inputs", seed)
    labels = torch.randint(2, (n,), generator=generator)
    cut = []
    for label in labels.tolist():
        _, height, width = photographs[label].shape
        top, left = (int(torch.randint(side - SIZE, (1,), generator=generator)) for side in (height, width))
        cut.append(photographs[label][:, top : top + SIZE, left : left + SIZE])
    return data.LabelledImages(torch.stack(cut), labels, ("palace", "flower"))


def _drawn(what: str, found: list, n: int, seed: int) -> list:
    if n > len(found):
        raise ValueError(f"{n} {what} were asked for, there are {len(found)}")
    order = torch.randperm(len(found), generator=seeds.generator("pretrained.inputs", seed))[:n]
    return [found[i] for i in order.tolist()]


def _minilm(trained: bool, n: int, seed: int, name: str, device: torch.device) -> Network:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = folder_of("minilm") / "model"
    if trained:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    else:
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    tokenizer, texts = AutoTokenizer.from_pretrained(folder), paragraphs(n, seed)
    tokens = functools.partial(_tokens, tokenizer)
    layers = [f"encoder.layer.{i}" for i in range(model.config.num_hidden_layers)]
    model = model.to(device).eval()
    return Network(
        model, layers, tokens(texts), lambda: _found_again(model, tokens, texts, device), tokenizer=tokenizer
    )


def _smollm2(trained: bool, n: int, seed: int, name: str, device: torch.device) -> Network:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder, file = folder_of("smollm2"), {"gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
    if trained:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **file)
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, **file))
    tokenizer = AutoTokenizer.from_pretrained(folder, **file)
    tokenizer.pad_token = tokenizer.eos_token
    tokens = _tokens(tokenizer, paragraphs(n, seed))
    layers = [f"model.layers.{i}" for i in range(model.config.num_hidden_layers)]
    model = model.to(device).eval()
    # in many language models the first token's activations are far longer than any other's
    return Network(model, layers, tokens, lambda: _loss(model, tokens, device), {"leave_out": (0,)}, tokenizer)


def _efficientnet(trained: bool, n: int, seed: int, name: str, device: torch.device) -> Network:
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    if trained:
        weights = torch.load(folder_of("efficientnet") / "models/efficientnet-lite0-57934424.pth", weights_only=True)
        # timm has the same modules in the same order, under names of its own
        model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    layers = [f"blocks.{i}.{j}" for i, stage in enumerate(model.blocks) for j in range(len(stage))]
    found = images(name, n, seed)
    x = (found.images - 0.5) / 0.5
    model = model.to(device).eval()
    return Network(model, layers, x, lambda: _nearest(model, x, found.labels, device))


def _crepe(trained: bool, n: int, seed: int, name: str, device: torch.device) -> Network:
    model = Crepe()
    if trained:
        model.load(torch.load(folder_of("crepe") / "assets/tiny.pth", weights_only=True))
    x, hertz = tones(n, seeds.generator("pretrained.inputs", seed))
    model = model.to(device).eval()
    layers = [f"blocks.{i}" for i in range(6)]
    # the first block gives 128 channels at 128 places: which are which must be said
    return Network(model, layers, x, lambda: _in_tune(model, x, hertz, device), {"axis": 1})


NETWORKS: dict[str, Callable[[bool, int, int, str, torch.device], Network]] = {
    "minilm": _minilm,
    "smollm2": _smollm2,
    "efficientnet": _efficientnet,
    "crepe": _crepe,
}


def _tokens(tokenizer: Any, texts: list[str]) -> dict[str, Int[Tensor, "n T"]]:
    made = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=TOKENS, padding_side="right")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


@torch.no_grad()
def _found_again(model: nn.Module, tokens: Callable, texts: list[str], device: torch.device) -> float:
    """The share of texts cut in two whose second half lies nearest to the first, by cosine, among all second halves."""
    words = [text.split() for text in texts]
    halves = [" ".join(w[: len(w) // 2]) for w in words], [" ".join(w[len(w) // 2 :]) for w in words]
    first, second = (
        torch.cat([_embedded(model, tokens(half[i : i + 64]), device) for i in range(0, len(half), 64)])
        for half in halves
    )
    return float(((first @ second.T).argmax(1) == torch.arange(len(texts), device=device)).float().mean())


def _embedded(model, tokens, device):
    """The mean of a text's last states, of length 1."""
    tokens = {name: values.to(device) for name, values in tokens.items()}
    mask = tokens["attention_mask"][..., None].float()
    mean = (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
    return nn.functional.normalize(mean)


@torch.no_grad()
def _loss(model: nn.Module, tokens: dict[str, Tensor], device: torch.device, n: int = 64) -> float:
    """Mean loss of the next token on the first n texts, in nats."""
    total, count = 0.0, 0
    for ids, mask in zip(tokens["input_ids"][:n], tokens["attention_mask"][:n], strict=True):
        ids = ids[mask.bool()][None].to(device)
        logits = model(input_ids=ids).logits[0, :-1].float()
        total += nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count


@torch.no_grad()
def _nearest(model: nn.Module, x: Float[Tensor, "n C H W"], labels: Int[Tensor, " n"], device: torch.device) -> float:
    """The share of images whose nearest other one by the last layer, by cosine, is of the same class."""
    seen = [model.forward_head(model.forward_features(part.to(device)), pre_logits=True) for part in x.split(64)]
    z = nn.functional.normalize(torch.cat(seen))
    nearest = (z @ z.T).fill_diagonal_(-1).argmax(1).cpu()
    return float((labels[nearest] == labels).float().mean())


@torch.no_grad()
def _in_tune(model: nn.Module, x: Float[Tensor, "n T"], hertz: Float[Tensor, " n"], device: torch.device) -> float:
    """The share of tones heard to 50 cents."""
    found = torch.cat([heard(model(part.to(device)).cpu()) for part in x.split(256)])
    return float(((found / hertz).log2().abs() * 1200 < 50).float().mean())
