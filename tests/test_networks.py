"""Networks: their layers exist and have the widths they should; names are checked."""

import pytest
import torch

from superpos import networks


@pytest.mark.parametrize(
    ("name", "widths"), [("mlp", (32, 16, 8)), ("cnn", (8, 16, 32)), ("mlp1", (8,)), ("cnn1", (8,))]
)
def test_layers_and_widths(name, widths):
    model = networks.build(name, (1, 8, 8), 10, width=8)
    modules, seen = dict(model.named_modules()), []
    for layer in model.layers:
        modules[layer].register_forward_hook(lambda _m, _i, out: seen.append(out))
    assert model(torch.rand(5, 1, 8, 8)).shape == (5, 10)
    assert tuple(out.shape[1] for out in seen) == widths
    assert all(out.min() == 0 for out in seen)  # read after the ReLU


def test_the_seed_decides_and_the_global_state_is_left_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    a, b, c = (networks.build("mlp", (1, 4, 4), 2, seed=s).out.weight for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)


def test_torchvision_by_name():
    model = networks.build("torchvision:resnet18", (3, 32, 32), 7)
    assert model.fc.out_features == 7
    assert model.layers[-3:] == ("layer4", "avgpool", "fc")


def test_your_own_function():
    model = networks.build("superpos.networks:mlp", (1, 4, 4), 3, width=2)
    assert model.out.out_features == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transformer", {}, "unknown network 'transformer'; expected mlp, cnn, mlp1, cnn1, resnet18, torchvision:NAME"),
        ("torchvision:resnet19", {}, "no model 'resnet19'"),
        ("nowhere:mlp", {}, "could not be imported"),
        ("superpos.networks:nothing", {}, "could not be imported"),
        ("mlp", {"widht": 3}, "unexpected keyword argument 'widht'"),
    ],
)
def test_unknown_names(name, options, message):
    with pytest.raises(ValueError, match=message):
        networks.build(name, (1, 8, 8), 10, **options)


def test_images_too_small():
    with pytest.raises(ValueError, match="at least 4×4, got 2×9"):
        networks.build("cnn", (1, 2, 9), 10)


def test_resnet18_is_torchvisions_but_for_its_stem():
    """With full width and torchvision's weights in it, behind torchvision's stem adapted as the paper does."""
    from torchvision import models

    theirs = models.resnet18(weights=None, num_classes=10)
    theirs.conv1, theirs.maxpool = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.Identity()
    ours = networks.build("resnet18", (3, 32, 32), 10)
    begins = {"conv1.": "stem.0.", "bn1.": "stem.1.", "fc.": "out."}
    renamed = {}
    for name, value in theirs.state_dict().items():
        begin = next((begin for begin in begins if name.startswith(begin)), "")
        renamed[begins.get(begin, "") + name.removeprefix(begin)] = value
    ours.load_state_dict(renamed)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("width", "channels"), [(0.25, [16, 32, 64, 128]), (2, [128, 256, 512, 1024])])
def test_resnet18_at_a_width(width, channels):
    model = networks.build("resnet18", (3, 32, 32), 3, width=width)
    modules, seen = dict(model.named_modules()), []
    for layer in model.layers:
        modules[layer].register_forward_hook(lambda _m, _i, out: seen.append(out))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert [out.shape[1] for out in seen] == channels
    assert [out.shape[-1] for out in seen] == [32, 16, 8, 4]
    assert all(out.min() == 0 for out in seen)
    with pytest.raises(ValueError, match=r"at least one of 64 channels, got 0.001"):
        networks.build("resnet18", (3, 32, 32), 3, width=0.001)
