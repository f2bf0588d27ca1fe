"""Ours beside a peer, one function a task, for `superpos.sweep`: each does both sides in one process and gives a row.

Every row holds peer_cpu, peer_wall, our_cpu, our_wall (seconds), their ratios, and what shows that both did the same.
"""

import torch

from benchmarks import material, peers
from benchmarks.material import Watch
from superpos import PUBLISHED, PUBLISHED_FAST, attacks, data, networks, sae, training
from superpos.activations import read_activations
from superpos.findings.toy import runs as toy_runs
from superpos.findings.toy import task as toy
from superpos.measurement import measure

__all__ = ["extract", "fit", "pgd_epoch", "toys", "way", "whole"]

UNTIED = PUBLISHED_FAST.but(
    tied=False, decoder_bias=True, unit_norm=True, init="unit", loss="l1_sum", l1=0.025, lr=3e-3
)


def _row(theirs, ours, **more):
    return {
        "peer_cpu": theirs.cpu,
        "our_cpu": ours.cpu,
        "cpu_ratio": theirs.cpu / ours.cpu,
        "peer_wall": theirs.wall,
        "our_wall": ours.wall,
        "wall_ratio": theirs.wall / ours.wall,
        **more,
    }


def fit(*, set, peer, seed, threads=1, n=10_000, epochs=800):
    """An SAE of 4 N codes to n rows of a set. → row with both losses and both F, read by the same lines

    Against the paper's recipe (paper, plain): ours is PUBLISHED_FAST, and `step_ratio` compares the cost of a step
    under PUBLISHED (ten epochs), where both do the same steps in float32. Against the untied peers:
    ours is UNTIED, at the same λ.
    sgemm: 10⁹ operations a second of this machine's float32 products; reached: the share of it that our fit makes,
    counting ten operations for each weight and row.
    """
    tied = peer in ("paper", "plain")
    settings = PUBLISHED_FAST if tied else UNTIED
    unit, l1 = ("mean", 0.1) if tied else ("sum", 0.025)
    with material.threads(threads):
        x = material.activations(set, n)
        # imports, and what torch does at a first call, are no part of either side
        sae.fit(x[:512], settings.but(tolerance=None, epochs=1))
        with peers.quiet():
            peers.fit(peer, x[:512], seed=seed, epochs=1, steps=2, l1=l1)
        with Watch() as theirs, peers.quiet():
            weights, steps = peers.fit(peer, x, seed=seed, epochs=epochs, l1=l1)
        with Watch() as ours:
            fitted = sae.fit(x, settings.but(epochs=epochs), seed=seed)
        peer_loss, peer_features = material.judge(x, weights, l1, unit)
        our_loss, our_features = material.judge(x, _weights(fitted), l1, unit)
        per_epoch = -(-len(x) // settings.batch_size)
        our_steps = len(fitted.history) * min(per_epoch, 100)
        same = PUBLISHED if tied else UNTIED.but(products="float32")
        with Watch() as step:
            sae.fit(x, same.but(epochs=10, patience=None, tolerance=None), seed=seed)
        sgemm, reached = _rate(x, settings, seed)
    return _row(
        theirs,
        ours,
        step_ratio=(theirs.cpu / steps) / (step.cpu / (10 * per_epoch)),
        peer_loss=peer_loss,
        our_loss=our_loss,
        loss_ratio=our_loss / peer_loss,
        peer_features=peer_features,
        our_features=our_features,
        features_ratio=our_features / peer_features,
        peer_steps=steps,
        our_steps=our_steps,
        products=fitted.settings.products,
        sgemm=sgemm,
        reached=reached,
        peer_version=peers.name_and_version(peer),
    )


def _weights(fitted):
    none = torch.zeros(fitted.encoder.shape[1])
    return {
        "encoder": fitted.encoder / fitted.scale,
        "encoder_bias": fitted.encoder_bias,
        "decoder": fitted.dictionary * fitted.scale,
        "decoder_bias": none if fitted.decoder_bias is None else fitted.decoder_bias,
    }


def _rate(x, settings, seed):
    """The machine's float32 rate, and the share of it that the first steps of a fit reach (no code has left yet)."""
    sgemm = material.gflops()
    steps = min(2 * -(-len(x) // settings.batch_size), 100)
    with Watch() as watch:
        sae.fit(x, settings.but(tolerance=None, steps=steps), seed=seed)
    rounds, per_round = settings.but(steps=steps).rounds_for(len(x))
    rows = rounds * per_round * min(settings.batch_size, len(x))
    operations = 10 * rows * x.shape[1] * settings.codes_for(x.shape[1])
    return sgemm, operations / watch.wall / 1e9 / sgemm


def way(*, set, seed, axes, lr, decay, epochs=100, n=10_000):
    """One way down the published loss, for a fixed number of epochs on one thread. → row with loss, F and seconds"""
    settings = PUBLISHED_FAST.but(axes=axes, lr=lr, decay=decay, tolerance=None, epochs=epochs)
    with material.threads(1):
        x = material.activations(set, n)
        with Watch() as watch:
            fitted = sae.fit(x, settings, seed=seed)
        loss, features = material.judge(x, _weights(fitted), 0.1, "mean")
    return {"loss": loss, "effective_features": features, "cpu": watch.cpu}


def extract(*, architecture, threads=1, n=10_000):
    """Activations of one layer for n images. The peer runs them one by one, both through nnsight on one module."""
    with material.threads(threads):
        model, images, layer = _network(architecture, n)
        pairs = torch.utils.data.TensorDataset(images, torch.zeros(len(images)))
        loader = torch.utils.data.DataLoader(pairs, batch_size=256)
        read_activations(model, images[:64], layer, n_samples=64)
        with Watch() as theirs, peers.quiet():
            wrapped = peers.paper_module("models").NNsightModelWrapper(model)
            out = wrapped.get_activations(loader, layer, max_activations=n)
        with Watch() as ours:
            rows = read_activations(model, images, layer, n_samples=10_000)[layer]
        out = out.movedim(1, -1) if out.ndim == 4 else out
        index = rows.sample[:100]
        found = [
            (out[i].reshape(-1, out.shape[-1]) - row).abs().amax(1).min() for i, row in zip(index, rows.x, strict=False)
        ]
    return _row(theirs, ours, rows=len(rows.x), n_neurons=rows.x.shape[1], difference=float(max(found)))


def _network(name, n):
    if name == "resnet18":
        model = peers.paper_module("models").create_model("resnet18", input_channels=3, output_dim=10)
        generator = torch.Generator().manual_seed(material.NETWORK_SEED)
        return model.eval(), torch.rand(n, 3, 32, 32, generator=generator), "layer1"
    model, images = material.classifier("mnist", name)
    return model, images.images[:n], model.layers[0]


def whole(*, reading, threads=2, n=10_000, seed=0):
    """The whole measurement of a CNN's three layers.

    Both fit 10,000 rows a layer. The peer's convolution rows are the first positions, and it then encodes every
    position; ours are drawn over all images, and ours also makes the SAE's quality and the baselines.
    """
    readings = {"published_fast": PUBLISHED_FAST, "protocol": sae.PROTOCOL}
    with material.threads(threads):
        model, images = material.classifier("mnist", "cnn")
        images = images.take(n, seed)
        measure(model, images.images[:256], model.layers, sae=PUBLISHED_FAST.but(epochs=1), n_samples=256)
        loader = torch.utils.data.DataLoader(images, batch_size=256)
        evaluation, config_type = peers.paper_module("evaluation"), peers.paper_module("sae").SAEConfig
        torch.manual_seed(seed)
        log = type("Log", (), {"info": staticmethod(lambda _: None)})
        with Watch() as theirs, peers.quiet():
            recipe = config_type(4, 0.1, 128, 1e-3, 800)
            found = [
                evaluation.measure_superposition(model, loader, layer, recipe, n, logger=log) for layer in model.layers
            ]
        with Watch() as ours:
            table = measure(model, images, model.layers, sae=readings[reading], seeds=[seed], n_samples=n)
    counts = {
        f"{side}_features_{layer}": value
        for layer, theirs_, mine in zip(model.layers, found, table.effective_features, strict=True)
        for side, value in (("peer", theirs_["feature_count"]), ("our", mine))
    }
    return _row(theirs, ours, **counts)


def pgd_epoch(*, architecture, products, threads=1, n=12_665, steps=40):
    """One epoch of PGD adversarial training of a binary classifier of MNIST's 0 and 1, ε = .1, batches of 256.

    difference: largest distance between the two attacks on one batch, from the same start, in float32.
    our_robust, float_robust: accuracy under attacks of the same strength made with `products`, and in float32.
    """
    with material.threads(threads):
        images = data.load("mnist")[0].only([0, 1])
        images = images.take(min(n, len(images)), material.NETWORK_SEED)
        shape, width = images.shape, {"mlp": 32, "cnn": 16}[architecture]
        torch.manual_seed(material.NETWORK_SEED)
        their_training, their_attacks = peers.paper_module("training"), peers.paper_module("attacks")
        with peers.quiet():
            model = peers.paper_module("models").create_model(
                architecture, input_channels=shape[0], hidden_dim=width, image_size=shape[1], output_dim=1
            )
        pairs = torch.utils.data.TensorDataset(images.images, images.labels.float())
        loader = torch.utils.data.DataLoader(pairs, batch_size=256, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        config = their_attacks.AttackConfig("pgd", pgd_steps=steps, pgd_alpha=0.01)
        with Watch() as theirs, peers.quiet():
            loss = torch.nn.BCEWithLogitsLoss()
            their_training.train_epoch(model, loader, optimizer, loss, 0.1, config)
        two = training.Settings(epochs=1, epsilon=0.1, attack=attacks.Attack(steps=2))
        training.train(networks.build(architecture, shape, 1), images.take(32, 0), two)
        mine = networks.build(architecture, shape, 1, width=width, seed=material.NETWORK_SEED)
        settings = training.Settings(
            epochs=1,
            lr=0.01,
            weight_decay=1e-4,
            batch_size=256,
            optimizer="sgd",
            epsilon=0.1,
            attack=attacks.Attack(steps=steps, step_size=0.01, products=products),
        )
        with Watch() as ours:
            training.train(mine, images, settings)
        batch = images.take(256, 0)
        from_x = their_attacks.AttackConfig("pgd", pgd_steps=steps, pgd_alpha=0.01, pgd_random_start=False)
        their_attack = their_attacks.attack_pgd(model, batch.images, batch.labels.float(), 0.1, from_x).detach()
        our_attack = attacks.pgd(
            model, batch.images, batch.labels, 0.1, attacks.Attack(steps=steps, random_start=False)
        )
        robust = {
            name: _robust(mine, images.take(min(1_000, len(images)), 1), steps, kind)
            for name, kind in (("our_robust", products), ("float_robust", "float32"))
        }
    return _row(theirs, ours, difference=float((their_attack - our_attack).abs().max()), **robust)


def _robust(model, images, steps, products):
    attacked = attacks.pgd(model, images.images, images.labels, 0.1, attacks.Attack(steps=steps, products=products))
    return training.accuracy(model, data.LabelledImages(attacked, images.labels, images.classes))


def toys(*, n_models, n_peer, threads=1, toy_steps=5_000, n=10_000, seed=material.NETWORK_SEED):
    """Toy models with an SAE each, in seconds a model: ours stacked, the peer's one by one (toys plain, SAE the paper's).

    features_ratio: mean F of ours (PUBLISHED, the same recipe) over the peer's, at the same sparsities, each on its own
    models.
    """
    peer = "paper" if peers.available("paper") else "plain"
    with material.threads(threads):
        sparsity = toy.sparsities(n_models)[:: max(1, n_models // n_peer)][:n_peer]
        seeds = range(n_peer)
        theirs_features = []
        family = toy_runs.Run(
            reading="published", spacing="log", n_models=n_models, seed=seed, toy_steps=toy_steps, n_rows=n
        )
        toy_runs.toy_run(family.but(n_models=2, seed=seed + 1, toy_steps=20, n_rows=256))
        _plain_toy(0.5, 0, 20)
        with Watch() as theirs, peers.quiet():
            for s, k in zip(sparsity, seeds, strict=True):
                W = _plain_toy(float(s), k, toy_steps)
                f = toy.sample_features(n, 20, float(s), torch.Generator().manual_seed(10**9 + k))
                weights, _ = peers.fit(peer, f @ W.T, seed=k, n_codes=8 * 5)
                theirs_features.append(material.judge(f @ W.T, weights, 0.1, "mean")[1])
        with Watch() as ours:
            rows = toy_runs.toy_run(family)
        ours.cpu, ours.wall = ours.cpu / n_models, ours.wall / n_models
        theirs.cpu, theirs.wall = theirs.cpu / n_peer, theirs.wall / n_peer
    mine = [rows[i]["effective_features"] for i in range(0, n_models, max(1, n_models // n_peer))][:n_peer]
    return _row(theirs, ours, features_ratio=sum(mine) / sum(theirs_features))


def _plain_toy(sparsity, seed, steps):
    """One toy model (Elhage 2022) by autograd and torch.optim. → W (5, 20)"""
    generator = torch.Generator().manual_seed(seed)
    W = torch.nn.Parameter(torch.randn(5, 20, generator=generator) * (2 / 25) ** 0.5)
    b = torch.nn.Parameter(torch.zeros(20))
    optimizer = torch.optim.Adam([W, b], lr=1e-3)
    omega = 0.7 ** torch.arange(20)
    for _ in range(steps):
        f = toy.sample_features(512, 20, sparsity, generator)
        loss = ((torch.relu(f @ W.T @ W + b) - f) ** 2 * omega).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return W.detach()
