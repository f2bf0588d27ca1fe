"""What do the codes mean? The samples that move the codes with the largest shares most, with the token marked.

A code's share is of what it writes, as in F. By the count that is asked of all codes of the shortest dictionary, whether or not
their number is identified; by an SAE, of its own codes.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from superpos import counting, metrics
from superpos.activations import Rows, read_activations
from superpos.counting import COUNTING
from superpos.foreign import adapt
from superpos.forward import MASKS
from superpos.measurement import trusted
from superpos.sae import Settings, fit
from superpos.settings import whole_number
from superpos.usage import row_lengths

__all__ = ["AROUND", "top_rows"]

AROUND = 8  # tokens shown on either side of the marked one


def top_rows(
    model: Any,
    data: Any,
    layer: str,
    *,
    sae: Any = None,
    n_codes: int = 8,
    n_rows: int = 5,
    n_samples: int = 10_000,
    seed: int = 0,
    tokenizer: Any = None,
    **how: Any,
) -> pd.DataFrame:
    """The rows that move the codes with the largest shares of a layer most, a line a code and row.

    `model`, `data`, `layer` and, as `how`, axis, leave_out, mask, device and batch_size are those of `read_activations`; `sae`
    is that of `superpos.measure`. Of each code `n_rows` rows are given, no two of one sample. `tokenizer` is what made token ids
    of texts (an nnsight language model brings its own).

    Columns: code (1 is that of the largest share), share, place (1: the row that moves it most), value (what the code
    writes there), sample (its number in `data`, or in the stream), position (in the sample), text (where `data` are texts
    or token ids: some tokens around, the one that was read between « and »; else ""), identified (whether a count may be
    trusted; of an SAE, True). Raises what those two raise, and ValueError where no code is active.
    """
    whole_number("n_codes", n_codes, 1)
    whole_number("n_rows", n_rows, 1)
    rows = read_activations(model, data, layer, n_samples=n_samples, seed=seed, **how)[layer]
    written, identified = _written(rows, COUNTING if sae is None else sae, seed)
    totals = written.sum(0)
    if not bool(totals.sum() > 0):
        raise ValueError(f"layer {layer!r}: no code is active on any row")
    shares, tokens = metrics.shares(totals), _Words(data, tokenizer or getattr(model, "tokenizer", None))
    found = []
    for number, code in enumerate(totals.argsort(descending=True)[:n_codes].tolist(), 1):
        for place, row in enumerate(_highest(written[:, code], rows.sample, n_rows), 1):
            at = (int(rows.sample[row]), int(rows.position[row]))
            text = tokens.around(*at, int(rows.length[row]))
            found.append((number, float(shares[code]), place, float(written[row, code]), *at, text, identified))
    return pd.DataFrame(found, columns=["code", "share", "place", "value", "sample", "position", "text", "identified"])


def _written(rows: Rows, sae: Any, seed: int) -> tuple[Float[Tensor, "n D"], bool]:
    """How much each code writes for each row, by what its share is of, and whether the number of codes may be trusted."""
    if isinstance(sae, counting.Settings):
        found = counting.find(rows.x, sae, seed=seed)
        if found.written is None:
            raise ValueError("the count found no code for these rows")
        return found.written.to_dense().float(), bool(trusted(found, rows.x, rows.sample)["identified"])
    face = adapt(fit(rows.x, sae, seed=seed) if isinstance(sae, Settings) else sae)
    z = torch.cat([face.encode(part).abs() for part in rows.x.split(4_096)])
    lengths = row_lengths(face)
    return (z if lengths is None else z * lengths.to(z)), True


def _highest(values: Float[Tensor, " n"], sample: Tensor, n: int) -> list[int]:
    """The rows of the n highest values above zero, one a sample."""
    chosen: dict[int, int] = {}
    for row in values.argsort(descending=True).tolist():
        if len(chosen) == n or values[row] <= 0:
            break
        chosen.setdefault(int(sample[row]), row)
    return list(chosen.values())


def _has_decoder(columns: Mapping[str, Any]) -> bool:
    """Whether there is a second stream of tokens, so that it is not known which of them a layer reads."""
    return any(name.startswith(("decoder_", "tgt")) for name in columns)


class _Words:
    """The tokens around a position of a sample, where data are texts or token ids, and a position is a token."""

    def __init__(self, data: Any, tokenizer: Any) -> None:
        columns = data if isinstance(data, Mapping) else {}
        self.tokenizer = None if _has_decoder(columns) else tokenizer
        self.data = columns.get("input_ids", data)
        self.masks = {name: columns[name] for name in MASKS if name in columns}

    def _ids(self, sample: int, length: int) -> list[int] | None:
        """The token ids of a sample: as many as it has positions, padding left out if it is that which makes them as many."""
        if self.tokenizer is None or not hasattr(self.data, "__getitem__"):
            return None
        one, masks = self.data[sample], {name: mask[sample] for name, mask in self.masks.items()}
        if isinstance(one, Mapping):
            if _has_decoder(one):
                return None
            one, masks = one.get("input_ids"), {name: one[name] for name in MASKS if name in one}
        if isinstance(one, str):
            one = list(self.tokenizer(one)["input_ids"])
        ids = one.tolist() if hasattr(one, "tolist") else one
        if not (isinstance(ids, list) and ids and all(isinstance(i, int) for i in ids)):
            return None
        for name, mask in masks.items():
            real = [i for i, word in zip(ids, mask, strict=False) if bool(word) is not MASKS[name]]
            if len(real) == length:
                return real
        return ids if len(ids) == length else None

    def around(self, sample: int, position: int, length: int) -> str:
        """The text with its token marked; "" where there are no tokens, or not one a position."""
        ids = self._ids(sample, length)
        if not ids or position >= len(ids):
            return ""
        decode = self.tokenizer.decode
        before, after = ids[max(0, position - AROUND) : position], ids[position + 1 : position + 1 + AROUND]
        return f"{decode(before)}«{decode(ids[position : position + 1])}»{decode(after)}".replace("\n", "⏎")
