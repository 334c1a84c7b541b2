"""The same networks in PyTorch, eager, channels_last, one seed after another."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.contenders import BATCHES, LEARNING_RATE, random_batches
from benchmarks.networks import BOTTLENECK, RESIDUAL_CHANNELS, RESNET, Network
from benchmarks.timing import Contender
from blurjax.models.classifiers import whitening_kernel


def import_torch() -> Any:
    """Imports PyTorch, which only the extra `benchmark` installs, and sets jax's default matmul precision."""
    torch = importlib.import_module("torch")
    torch.set_float32_matmul_precision("high")
    return torch


def make_network(network: Network) -> Any:
    """Returns a torch module with as many parameters as blurjax's."""
    nn = import_torch().nn
    layers: list[Any] = []
    if network is RESNET:
        return _residual(import_torch())
    if network.stage == "classifier":
        for before, features in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, features, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(4 * 4 * 128, 128), nn.ReLU(), nn.Linear(128, 10)]
        return nn.Sequential(*layers)
    gelu = nn.GELU(approximate="tanh")
    for before, features in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(before, features, 3, padding=1), gelu, nn.AvgPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(4 * 4 * 256, BOTTLENECK)]
    layers += [nn.Linear(BOTTLENECK, 4 * 4 * 256), gelu, nn.Unflatten(1, (256, 4, 4))]
    for before, features in ((256, 128), (128, 64), (64, 32)):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, features, 3, padding=1), gelu]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2), nn.Conv2d(32, 3, 3, padding=1))


def _residual(torch: Any) -> Any:
    """Returns `networks.PlainResNet` as a torch module."""
    nn = torch.nn

    def normalized(before: int, features: int, *pooling: Any) -> Any:
        conv = nn.Conv2d(before, features, 3, padding=1, bias=False)
        return nn.Sequential(conv, *pooling, nn.BatchNorm2d(features), nn.GELU("tanh"))

    class Residual(nn.Module):
        def __init__(self, block: Any):
            super().__init__()
            self.block = block

        def forward(self, x: Any) -> Any:
            return x + self.block(x)

    kernel = torch.from_numpy(whitening_kernel(3)).permute(3, 2, 0, 1).contiguous()
    first = nn.Conv2d(3, len(kernel), 3, padding=1, bias=False).requires_grad_(False)
    first.weight.copy_(kernel)
    layers: list[Any] = [first, nn.GELU("tanh")]
    before = len(kernel)
    for features in RESIDUAL_CHANNELS:
        layers.append(normalized(before, features, nn.MaxPool2d(2)))
        layers.append(Residual(normalized(features, features)))
        before = features
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def torch_contender(
    network: Network, trials: int, batch_size: int, dtype: str, *, autocast: bool = True
) -> Contender:
    """Trains `trials` networks, one after another; bfloat16 by autocast, or else parameters and all in bfloat16."""
    torch = import_torch()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mixed = autocast and dtype == "bfloat16"
    own = torch.float32 if mixed else getattr(torch, dtype)
    models, optimizers = [], []
    for seed in range(trials):
        torch.manual_seed(seed)
        model = make_network(network).to(device, own, memory_format=torch.channels_last)
        models.append(model)
        optimizers.append(torch.optim.Adam(model.parameters(), LEARNING_RATE))
    batches = [
        (
            torch.from_numpy(images)
            .to(device, own)
            .permute(0, 3, 1, 2),  # NHWC in memory: channels_last
            torch.from_numpy(labels).to(device).long(),
        )
        for images, labels in random_batches(network, batch_size)
    ]

    def step(model: Any, optimizer: Any, images: Any, labels: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            output = model(images - 0.5)
        if network.stage == "classifier":
            loss = torch.nn.functional.cross_entropy(output.float(), labels)
        else:
            loss = torch.nn.functional.mse_loss(output.float() + 0.5, images.float())
        loss.backward()
        optimizer.step()

    def run(repeats: int) -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            for number in range(repeats):
                step(model, optimizer, *batches[number % BATCHES])
        if device == "cuda":
            torch.cuda.synchronize()

    return Contender("torch" if autocast else "torch, all bfloat16", run, trials)
