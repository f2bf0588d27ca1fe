"""Sums of a dictionary's codes over any number of rows, without ever holding rows × codes."""

import torch

from superpos import metrics
from superpos.dictionaries import Dictionary

__all__ = ["PRODUCTS", "Usage", "most_active", "unexplained"]

PRODUCTS = ("float32", "bfloat16")
ROWS, CODES = 512, 512  # of a tile of codes: one mebibyte of float32, which stays near the processor
WIDE_ROWS = 256  # rows whose codes are all held at once, for TopK and for objects that encode by themselves
ON_CUDA = (16_384, 8_192, 2_048)  # the same three on a GPU
SPARSE = 0.05  # share of active codes below which decoding them alone is sooner
GROUPS = 16  # codes that share a maximum in the search for the k largest


class Usage:
    """Sums over a stream of rows, read by one dictionary: Σ|z| and the number of active rows of every code.

    dictionary: a `Dictionary`, or any object with `encode (n, N) → (n, D)` or with sparsify's top codes. products:
    "float32" or "bfloat16", what the matrix products of a Dictionary are made in; x is centred in float32 first.
    Codes are made a tile at a time and never kept. Beside the encoder in the type of the products a Usage holds, on a
    processor, 1 MiB (TopK and objects that encode by themselves: 256 rows × D codes, 32 MiB at D = 32,768).
    totals (D,) and active (D,) are float64, n_rows counts the rows.
    """

    def __init__(self, dictionary, products="float32", device="cpu"):
        if products not in PRODUCTS:
            raise ValueError(f"products must be 'float32' or 'bfloat16', got {products!r}")
        self.dictionary, self.n_rows, self.totals, self.active = dictionary, 0, None, None
        self._known = isinstance(dictionary, Dictionary)
        if not self._known and not hasattr(dictionary, "encode"):
            raise TypeError(f"a dictionary must have an encode method, got {type(dictionary).__name__}")
        if self._known:
            self.dictionary = dictionary = dictionary.to(device)
            dtype = getattr(torch, products)
            self._encoder, self._bias = dictionary.encoder.to(dtype), dictionary.encoder_bias.to(dtype)
            self._make_room(dictionary.n_codes, device)
        cuda = torch.device(device).type == "cuda"
        self._rows, self._codes, self._wide = ON_CUDA if cuda else (ROWS, CODES, WIDE_ROWS)
        self._buffer = None

    def _make_room(self, n_codes, device):
        self.totals, self.active = (torch.zeros(n_codes, dtype=torch.float64, device=device) for _ in range(2))

    @torch.no_grad()
    def add(self, x):
        """Add rows x (n, N). ValueError for another width, or codes that are not finite."""
        if not self._known:
            for rows in x.split(self._wide):
                self._add_codes(self.dictionary.encode(rows), rows.device)
        elif self.dictionary.k is None:
            for rows in self.dictionary.centred(x).to(self._encoder).split(self._rows):
                self._add_tiles(rows)
        else:
            for rows in self.dictionary.centred(x).to(self._encoder).split(self._wide):
                z = torch.addmm(self._bias, rows, self._encoder.T, out=self._room(len(rows), self.dictionary.n_codes))
                self._add_top(*most_active(z, self.dictionary.k))
        self.n_rows += len(x)

    def _room(self, n_rows, n_codes):
        if self._buffer is None:
            wide = self.dictionary.k is not None
            shape = (self._wide, self.dictionary.n_codes) if wide else (self._rows, self._codes)
            self._buffer = self._encoder.new_empty(shape[0] * shape[1])
        return self._buffer[: n_rows * n_codes].view(n_rows, n_codes)

    def _add_tiles(self, rows):
        tiles = zip(*(v.split(self._codes) for v in (self._encoder, self._bias, self.totals, self.active)), strict=True)
        for encoder, bias, totals, active in tiles:
            z = torch.addmm(bias, rows, encoder.T, out=self._room(len(rows), len(encoder))).relu_()
            totals += z.sum(0, dtype=torch.float32)
            active += z.sign_().sum(0, dtype=torch.float32)  # several times sooner than counting what is above zero

    def _add_top(self, values, places):
        values, places = values.relu().double().flatten(), places.flatten()
        self.totals.index_add_(0, places, values)
        self.active.index_add_(0, places, values.sign())

    def _add_codes(self, answer, device):
        """Add what a foreign `encode` gives: dense codes (n, D), or sparsify's top codes."""
        if hasattr(answer, "top_acts"):
            if self.totals is None:
                self._make_room(getattr(self.dictionary, "num_latents", None) or len(self.dictionary.W_dec), device)
            return self._add_top(answer.top_acts.abs(), answer.top_indices)
        if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
            raise TypeError(
                f"encode must give codes (rows, codes), got {type(answer).__name__} {getattr(answer, 'shape', '')}"
            )
        if self.totals is None:
            self._make_room(answer.shape[1], device)
        self.totals += answer.abs().sum(0, dtype=torch.float64)
        self.active += (answer != 0).sum(0)

    def reading(self, n_neurons):
        """What the sums say. → dict: F, ψ, Hill numbers 0 and 2, l0 (mean active codes a row), dead (share of codes)

        Where no code was ever active F is NaN. ValueError for sums that are not finite.
        """
        if self.n_rows and not bool(torch.isfinite(self.totals).all()):
            raise ValueError(f"{getattr(self.dictionary, 'name', 'dictionary')}: sums of codes are not finite")
        hills = [float("nan")] * 3
        if self.totals is not None and float(self.totals.sum()) > 0:
            p = metrics.shares(self.totals)
            hills = [metrics.hill_number(p, order) for order in (0, 1, 2)]
        columns = {"effective_features": hills[1], "psi": hills[1] / n_neurons, "hill_0": hills[0], "hill_2": hills[2]}
        l0, dead = float("nan"), float("nan")
        if self.n_rows:
            l0, dead = self.active.sum().item() / self.n_rows, (self.active == 0).double().mean().item()
        return columns | {"l0": l0, "dead": dead}


def most_active(z, k):
    """The k largest of each row of z (n, D). → values, places, both (n, k), in no order

    The k largest lie in the k groups of codes whose maxima are largest, so most codes are looked at only once.
    """
    n, D = z.shape
    if D % GROUPS or k > D // GROUPS:
        return z.topk(k, dim=1, sorted=False)
    grouped = z.view(n, GROUPS, D // GROUPS)  # a group: codes that are equal modulo D / GROUPS
    groups = grouped.amax(1).topk(k, dim=1, sorted=False).indices
    candidates = grouped.gather(2, groups[:, None].expand(-1, GROUPS, -1)).flatten(1)
    values, at = candidates.topk(k, dim=1, sorted=False)
    return values, (at // k) * (D // GROUPS) + groups.gather(1, at % k)


@torch.no_grad()
def unexplained(dictionary, x):
    """Share of the variance of x (n, N) that reconstructions leave: Σ‖x − x'‖² / Σ‖x − mean‖². → float

    NaN for an object without a `decode` of dense codes. Holds the codes of 256 rows at once.
    """
    if not isinstance(dictionary, Dictionary) and (
        not hasattr(dictionary, "decode") or hasattr(dictionary, "num_latents")
    ):
        return float("nan")
    error = 0.0
    for part in x.split(WIDE_ROWS):
        z = dictionary.encode(part)
        sparse = isinstance(dictionary, Dictionary) and int(torch.count_nonzero(z)) < SPARSE * z.numel()
        back = (
            torch.sparse.mm(z.to_sparse(), dictionary.dictionary) + dictionary.bias if sparse else dictionary.decode(z)
        )
        error += (part - back).double().square().sum()
    return float(error / (x - x.mean(0)).double().square().sum())
