"""Random architectures, layouts and containers: right rows or an error that names what is wrong, nothing else.

`SUPERPOS_FUZZ=200` tries so many; by default a few, which take seconds.
"""

import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from superpos.activations import read_activations

N_CASES = int(os.environ.get("SUPERPOS_FUZZ", "60"))


class Step(nn.Module):
    """One operation of a random network."""

    def __init__(self, does, inner=None):
        super().__init__()
        self.does = does
        if inner is not None:
            self.inner = inner

    def forward(self, x):
        return self.does(self, x)


def vectors(r, n):
    """Networks on vectors: (module, shape of a sample, where the neurons are in the output of each step)."""
    width, steps = int(r.integers(2, 9)), []
    start = width
    for _ in range(r.integers(1, 4)):
        new = int(r.integers(2, 12))
        steps.append((nn.Linear(width, new), -1))
        width = new
        steps += [
            [(nn.ReLU(inplace=bool(r.integers(2))), -1)],
            [(nn.BatchNorm1d(width), -1)],
            [(nn.Dropout(), -1)],
            [],
        ][r.integers(4)]
    return steps, (start,)


def maps(r, n):
    """Convolutions over one, two or three axes."""
    dims, width = int(r.integers(1, 4)), int(r.integers(1, 4))
    conv, pool = getattr(nn, f"Conv{dims}d"), getattr(nn, f"MaxPool{dims}d")
    norm = getattr(nn, f"BatchNorm{dims}d")
    start, steps = width, []
    for _ in range(r.integers(1, 3)):
        new = int(r.integers(2, 8))
        steps.append((conv(width, new, 3, padding=1), 1))
        width = new
        steps += [[(nn.ReLU(), 1)], [(pool(2), 1)], [(norm(width), 1)], [(nn.GroupNorm(1, width), 1)], []][
            r.integers(5)
        ]
    return steps, (start, *(int(r.integers(4, 8)) for _ in range(dims)))


def tokens(r, n):
    """Sequences of vectors through linear, recurrent, normalising and attending steps."""
    width = 4 * int(r.integers(1, 4))
    start, steps = width, []
    for _ in range(r.integers(1, 4)):
        kind = r.integers(5)
        if kind == 0:
            new = 4 * int(r.integers(1, 4))
            steps.append((nn.Linear(width, new), -1))
            width = new
        elif kind == 1:
            steps.append((nn.LayerNorm(width), -1))
        elif kind == 2:
            rnn = [nn.LSTM, nn.GRU][r.integers(2)](width, width, batch_first=True)
            steps.append((Step(lambda self, x: self.inner(x)[0], rnn), -1))
        elif kind == 3:
            attention = nn.MultiheadAttention(width, 2, batch_first=True)
            steps.append((Step(lambda self, x: self.inner(x, x, x), attention), -1))
        else:
            steps.append((nn.GELU(), -1))
        if isinstance(steps[-1][0], Step) and isinstance(steps[-1][0].inner, nn.MultiheadAttention):
            steps[-1] = (Step(lambda self, x: self.inner(x, x, x)[0], attention), -1)
    return steps, (int(r.integers(2, 7)), start)


def odd(r, n):
    """Last steps that give no rows."""
    steps, shape = vectors(r, n)
    bad = [
        lambda self, x: {"x": x}, lambda self, x: None, lambda self, x: x.sum(), lambda self, x: x.long(),
        lambda self, x: x[:1].expand(17, -1), lambda self, x: torch.complex(x, x), lambda self, x: "x",
    ]  # fmt: skip
    return [*steps, (Step(bad[r.integers(len(bad))]), None)], shape


class Once(IterableDataset):
    def __init__(self, x):
        self.x = iter(x)

    def __iter__(self):
        return self.x


CONTAINERS = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "double array": lambda x: x.double().numpy(),
    "list": list,
    "dict": lambda x: {"x": x, "labels": torch.zeros(len(x))},
    "other name": lambda x: {"features": x, "label": torch.zeros(len(x))},
    "pairs": lambda x: TensorDataset(x, torch.zeros(len(x))),
    "loader": lambda x: DataLoader(TensorDataset(x), batch_size=5),
    "loader of dicts": lambda x: DataLoader([{"x": one, "label": 1} for one in x], batch_size=5),
    "stream": Once,
    "iterator": lambda x: iter(x.split(4)),
    "iterator of pairs": lambda x: ((part, torch.zeros(len(part))) for part in x.split(4)),
}


@pytest.mark.parametrize("seed", range(N_CASES))
@pytest.mark.filterwarnings("ignore:layer .* is called")
def test_right_rows_or_a_named_error(seed):
    r = np.random.default_rng(seed)
    torch.manual_seed(seed)
    n = int(r.integers(2, 14))
    steps, shape = (vectors, maps, tokens, odd)[r.integers(4)](r, n)
    container = list(CONTAINERS)[r.integers(len(CONTAINERS))]
    at = int(r.integers(len(steps))) if steps[-1][1] is not None else len(steps) - 1
    model, x = nn.Sequential(*[step for step, _ in steps]), torch.randn(n, *shape)
    seen = []
    hook = model[at].register_forward_hook(lambda m, i, o: seen.append(o.clone() if isinstance(o, torch.Tensor) else o))
    with torch.no_grad():
        model.eval()(x)
    hook.remove()
    model.train()
    data, (expected,), neurons = CONTAINERS[container](x), seen, steps[at][1]
    batch_size = int(r.integers(2, 8)) if not isinstance(model[at], nn.BatchNorm1d) else 8
    if neurons is None:
        with pytest.raises((TypeError, ValueError), match=f"layer '{at}' gave"):
            read_activations(model, data, str(at), n_samples=100_000, batch_size=batch_size)
        return
    rows = read_activations(model, data, str(at), n_samples=100_000, batch_size=batch_size)[str(at)]
    expected = expected.movedim(neurons, -1).reshape(n, -1, expected.shape[neurons])
    assert rows.x.shape == (expected.shape[0] * expected.shape[1], expected.shape[2])
    assert len(set(zip(rows.sample.tolist(), rows.position.tolist(), strict=True))) == len(rows.x)
    torch.testing.assert_close(rows.x, expected[rows.sample, rows.position], rtol=1e-4, atol=1e-5)
    assert all(m.training for m in model.modules())
