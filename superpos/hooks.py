"""A model run on batches, its layers seen by torch's own forward hooks, and the model left exactly as it was.

An output is seen when it is made, before a later operation may change it in place. Every pass runs to its end, for a model may
keep books. One model is read at a time in a process: what is set meanwhile is torch's, and so everybody's.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from superpos.axes import History, Known, rank_of, takes_time_first, unclear_samples
from superpos.inputs import Batch

__all__ = ["Output", "Tap", "network_of", "prepared", "taps"]

_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class Tap:
    """A layer that is read: its name as asked, its module's name, and which of its calls in a forward pass (0: all)."""

    name: str
    module: str
    call: int | None = None  # None: the first, said aloud where there are more


@dataclass
class Output:
    """What a layer gave in one call: values, what is known of its axes, and the tokens that are no padding if it says so."""

    x: Tensor
    known: Known
    mask: Bool[Tensor, "B T"] | None = None


def network_of(model: Any) -> nn.Module:
    """The torch module of a model, of one of nnsight's as well. Raises TypeError for what is neither, and for scripts."""
    module = model if isinstance(model, nn.Module) else None
    if module is None and callable(getattr(type(model), "trace", None)):
        if not getattr(model, "dispatched", True):
            model.dispatch()  # nnsight loads a model by name only when it is first needed
        module = model._module
    if not isinstance(module, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or an nnsight model, got {type(model).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"model is a {type(module).__name__} of torch.jit, which runs without its layers being seen: give the module "
            "that it was made from"
        )
    for name, one in module.named_modules():
        if isinstance(one, nn.modules.lazy.LazyModuleMixin) and one.has_uninitialized_params():
            raise TypeError(
                f"module {name!r} is a {type(one).__name__}, which has no weights yet: run the model once first"
            )
    return module


def taps(module: nn.Module, layers: Any) -> list[Tap]:
    """The taps of a layer or a list of layers. NAME@k is the k-th call of a layer in a forward pass, NAME@all are all.

    Raises ValueError for an unknown layer, naming those that there are, and for a layer that no hook can see.
    """
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    if not names:
        raise ValueError("no layer was named")
    known, found = dict(_named(module)), []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"layers must be names of modules, got {name!r}")
        base, call = name, None
        if name not in known and "@" in name:
            base, _, word = name.rpartition("@")
            if word != "all" and not (word.isdigit() and int(word) > 0):
                raise ValueError(f"layer {name!r}: after @ expected a number of a call from 1 on, or all, got {word!r}")
            call = 0 if word == "all" else int(word)
        if len(known) == 1:
            raise ValueError(
                "the model is one module without layers: wrap it, torch.nn.Sequential(model), and read layer '0'"
            )
        if base not in known or not base:
            raise ValueError(f"unknown layer {name!r}; the model has {', '.join(one for one in known if one)}")
        scripts = [one for one in _above(base) if isinstance(known.get(one), torch.jit.ScriptModule)]
        if scripts:
            raise ValueError(
                f"layer {name!r} is inside of {scripts[0]!r}, a script of torch.jit, whose layers cannot be seen"
            )
        found.append(Tap(name, base, call))
    return found


def _named(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules by name; those of a compiled model also by the names that they have without it."""
    for name, one in module.named_modules(remove_duplicate=False):
        yield name, one
        if "_orig_mod" in name.split("."):
            yield ".".join(part for part in name.split(".") if part != "_orig_mod"), one


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


@contextmanager
def prepared(module: nn.Module, device: torch.device | str | None, seed: int) -> Iterator[torch.device]:
    """`module` ready to be read inside `with`: alone, in evaluation mode, without gradients. → the device that it is on

    Compiled modules run as they were written and attention without its fused path, whose layers no hook would see. Random
    numbers that model or data draw from torch's own generator are those of `seed`. All is put back after.
    """
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluation(module, device))
        if any(_is_compiled(one) for one in module.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_without_fused_attention())
        cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield device_of(module) if device is None else torch.device(device)


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters of a module are, else its buffers, else the processor."""
    tensors = (one for kind in (module.parameters, module.buffers) for one in kind())
    return next((one.device for one in tensors if not one.is_meta), torch.device("cpu"))


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


@contextmanager
def _without_fused_attention():
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _evaluation(module, device):
    home, modes = device_of(module), {m: m.training for m in module.modules()}
    try:
        module.eval()
        if device is not None:
            module.to(device)
        yield
    finally:
        if device is not None:
            module.to(home)
        for m, training in modes.items():
            # by `train`, which a module may override; what it does to the parts of a module is put right after it
            if m.training != training:
                m.train(training)


class Watch:
    """Hooks on a model for as long as `with` lasts. `run` calls it on a batch and hands each output to `see`.

    Where the shape of an output leaves open which of its axes counts samples, the batch is run once more with its samples in
    another order, and the axis that follows is the one, in all batches.
    """

    def __init__(
        self, model: Any, module: nn.Module, of: Sequence[Tap], see: Callable[[Tap, Output, Batch], None]
    ) -> None:
        self.model, self.module, self.taps, self.see = model, module, list(of), see
        self.batches_with, self.most_calls, self.n_batches = Counter(), Counter(), 0
        self._inside = {tap: self._in_time_first(tap.module) for tap in self.taps}
        self._samples: dict[Tap, str] = {}
        self._held: list[tuple[Tap, Output]] = []
        self._again: list[tuple[Tap, Output]] | None = None  # outputs of the second run of the first batch

    def _in_time_first(self, name):
        known = dict(_named(self.module))
        return any(takes_time_first(known[one]) for one in _above(name)[:-1] if one in known)

    def __enter__(self) -> "Watch":
        known, by_module = dict(_named(self.module)), {}
        for tap in self.taps:
            by_module.setdefault(known[tap.module], []).append(tap)
        self._hooks = []
        for one in self.module.modules():
            self._hooks.append(one.register_forward_hook(self._note))
            if one in by_module:
                self._hooks.append(one.register_forward_hook(self._hook(by_module[one])))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def run(self, batch: Batch) -> None:
        """One forward pass, and a second one of the same batch where that is needed."""
        self.n_batches += 1
        state = torch.get_rng_state()
        self._pass(batch)
        for tap, n in self.calls.items():
            self.batches_with[tap] += 1
            self.most_calls[tap] = max(self.most_calls[tap], n)
        if self._held:
            torch.set_rng_state(state)
            self._again = []
            self._pass(batch.rolled())
            for (tap, first), (_, second) in zip(self._held, self._again, strict=False):
                if found := _followed(first.x, second.x, len(batch.index), tap.name):
                    self._samples[tap] = found
                first.known = replace(first.known, samples=found)
                self.see(tap, first, batch)
            self._held, self._again = [], None

    def _pass(self, batch):
        """Call the model. What it raises gets a note that says what it was given; what is raised here does not."""
        given = {str(i): one for i, one in enumerate(batch.args)} | batch.kwargs
        given = {name: one for name, one in given.items() if isinstance(one, Tensor)}
        self.batch, self.calls, self._ours = batch, Counter(), False
        self._inputs = [tuple(one.shape) for one in given.values()]
        self.history = History()
        try:
            if self.model is self.module:
                self.module(*batch.args, **batch.kwargs)
            else:
                with self.model.trace(*batch.args, **batch.kwargs):  # with what was edited into the model
                    pass
        except Exception as error:
            if not self._ours:
                told = ", ".join(f"{name}: {one.dtype} {tuple(one.shape)}" for name, one in given.items())
                error.add_note(f"the model was given {told}; labels are left out unless its forward must have them")
            raise

    def _note(self, module, given, output):
        x = _first(output)
        if isinstance(x, Tensor):
            self.history.ran(module, tuple(x.shape), _place(given[0] if given else None), _place(x))

    def _hook(self, of):
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            for tap in of:
                self.calls[tap] += 1
                if tap.call in (0, self.calls[tap]) or (tap.call is None and self.calls[tap] == 1):
                    self._ours = True  # until it was seen
                    self._seen(tap, module, _output(output, tap.name))
                    self._ours = False

        return hook

    def _seen(self, tap, module, made):
        shape, n = tuple(made.x.shape), len(self.batch.index)
        _check_rank(module, made.x, tap.name)
        if made.mask is None:
            made.known = self.history.at(module, shape, self._inside[tap], _place(made.x))
            made.known = replace(made.known, samples=self._samples.get(tap))
        if self._again is not None:
            if any(tap is one for one, _ in self._held):
                self._again.append((tap, replace(made, x=made.x.clone())))
        elif tap not in self._samples and made.mask is None and unclear_samples(shape, n, self._inputs):
            self._held.append((tap, replace(made, x=made.x.clone())))
        else:
            self.see(tap, made, self.batch)


def _followed(first: Tensor, second: Tensor, n: int, name: str) -> str | None:
    """Which axis of an output followed when the samples of a batch were rolled by one. ValueError where none did.

    None where several did, as with samples that are all alike: then it does not matter in this batch, and the next is tried.
    """
    found = []
    if first.shape != second.shape:
        raise ValueError(f"layer {name!r} gave {tuple(first.shape)} and, in another order, {tuple(second.shape)}")
    if len(first) % n == 0:
        k = len(first) // n
        if _alike(first.unflatten(0, (n, k)).roll(1, 0).flatten(0, 1), second):
            found.append("first")
        if k > 1 and _alike(first.unflatten(0, (k, n)).roll(1, 1).flatten(0, 1), second):
            found.append("apart")
    if first.ndim > 2 and first.shape[1] == n and _alike(first.roll(1, 1), second):
        found.append("second")
    if not found:
        raise ValueError(
            f"layer {name!r} gave shape {tuple(first.shape)} for {n} samples; expected ({n}, …, neurons): no axis followed when "
            "the samples were put in another order"
        )
    return found[0] if len(found) == 1 else None


def _alike(one: Tensor, other: Tensor) -> bool:
    """Equal but for what adding in another order, or in half precision, may change."""
    scale = float((one.double() - one.double().flatten(0, -2).mean(0)).square().mean().sqrt())  # what tells rows apart
    return bool(((one - other).abs().double() <= 1e-2 * scale + 1e-3 * one.abs().double()).double().mean() > 0.99)


def _place(x: Any) -> tuple[int, ...]:
    """Where a tensor lies in memory and how it is laid out there: what tells one from another, and from a turned view of it."""
    return (x.data_ptr(), *x.stride()) if isinstance(x, Tensor) and x.layout is torch.strided and not x.is_meta else ()


def _check_rank(module: nn.Module, x: Tensor, name: str) -> None:
    """ValueError for maps without an axis of samples, which convolutions take as well."""
    if (rank := rank_of(module)) and x.ndim != rank:
        raise ValueError(
            f"layer {name!r}, a {type(module).__name__}, gave shape {tuple(x.shape)}; expected {rank} axes: give batches, whose "
            "first axis counts samples"
        )


def _first(output: Any) -> Any:
    """What a layer gave: of a tuple its first part, of Hugging Face's outputs the last hidden state. A packed sequence is taken
    whole, though it is a tuple."""
    if isinstance(output, dict) and isinstance(output.get("last_hidden_state"), Tensor):
        return output["last_hidden_state"]
    packed = isinstance(output, nn.utils.rnn.PackedSequence)
    return output[0] if isinstance(output, tuple | list) and output and not packed else output


def _output(output: Any, name: str) -> Output:
    """The tensor of an output: a tuple's first, a packed sequence padded. TypeError, with the layer, for others."""
    x, mask = _first(output), None
    if isinstance(x, nn.utils.rnn.PackedSequence):
        x, lengths = nn.utils.rnn.pad_packed_sequence(x, batch_first=True)
        mask = torch.arange(x.shape[1]) < lengths[:, None]
    if not isinstance(x, Tensor):
        held = f" with {', '.join(map(str, x))}" if isinstance(x, dict) else ""
        raise TypeError(
            f"layer {name!r} gave {type(x).__name__}{held}; expected a tensor, or a tuple that begins with one"
        )
    if not x.is_floating_point() or x.layout is not torch.strided or x.is_quantized:
        raise TypeError(f"layer {name!r} gave values of {x.dtype}, {x.layout}; expected dense floating-point numbers")
    return Output(x, Known(), mask)
