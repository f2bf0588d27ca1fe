"""Files that are whole or not there, and trainings that go on as if they had not stopped."""

import pytest
import torch

from superpos import checkpoint


def parts():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, torch.Generator().manual_seed(1)


def step(model, optimizer, generator):
    optimizer.zero_grad()
    model(torch.randn(8, 4, generator=generator)).square().mean().backward()
    optimizer.step()


def test_what_is_put_back_goes_on_as_if_it_had_not_stopped(tmp_path):
    straight, stopped = parts(), parts()
    for _ in range(5):
        step(*straight)
    for _ in range(2):
        step(*stopped)
    checkpoint.write(tmp_path / "new" / "at", checkpoint.state_of(*stopped) | {"other": torch.ones(1)}, {"steps": 2})
    tensors, about = checkpoint.read(tmp_path / "new" / "at")
    again = parts()
    checkpoint.put_back(tensors, *again)
    for _ in range(5 - about["steps"]):
        step(*again)
    for name, value in straight[0].state_dict().items():
        assert torch.equal(again[0].state_dict()[name], value)


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "at"
    kept = torch.ones(2, 3)
    checkpoint.write(
        path, {"x": torch.arange(3.0), "same": kept.T, "view": kept[:1], "again": kept, "twice": kept}, {"n": 1}
    )

    def cut(tensors, file, metadata):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", cut)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(path, {"x": torch.zeros(3)}, {"n": 2})
    tensors, about = checkpoint.read(path)
    assert list(tmp_path.iterdir()) == [path]
    assert about == {"n": 1}
    assert all(torch.equal(tensors[name], kept) for name in ("again", "twice"))
    assert tensors["x"].tolist() == [0, 1, 2]
    assert tensors["same"].shape == (3, 2)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="is no whole file of tensors"):
        checkpoint.read(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "at"
    checkpoint.write(path, {"x": torch.zeros(1)}, {"n": 1})
    assert checkpoint.read(path, ("n",))[1] == {"n": 1}
    with pytest.raises(ValueError, match=f"{path} is a file of another kind: it does not say done, curve"):
        checkpoint.read(path, ("n", "done", "curve"))
