"""Workloads measured in this process: training compared with other ways, the pipeline's share, linearity."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.contenders import flax_step, flax_vmap, matmul, matmul_size
from benchmarks.networks import AUTOENCODER, CNN, RESNET, Network
from benchmarks.stage import Stage, random_dataset
from benchmarks.timing import MOST_REPEATS, Contender, Times, interleave, row, spread
from benchmarks.torch_networks import torch_contender
from blurjax.engine import shared, sweep
from blurjax.views.functions import AXES

Rows = Iterator[dict[str, Any]]
EXAMPLES = 4096
"""Number of random images; a training step does not depend on it."""
LINEAR = (1, 2, 3, 5, 10)
"""Multiples at which the cost is measured."""


def compute_settings(options: Namespace) -> dict[str, Any]:
    """Returns the settings that come from the benchmark's command line."""
    settings = {
        f"{section}.{name}": getattr(options, name)
        for section in ("autoencoder", "classifier")
        for name in ("batch_size", "dtype")
    }
    return settings | {"compute.convolution": options.convolution}


def make_stage(options: Namespace, network: Network, trials: int, **changes: Any) -> Stage:
    """Returns a stage that trains a network on a resident random data set."""
    dataset = random_dataset(network.image_size, changes.pop("examples", EXAMPLES))
    settings = compute_settings(options) | {"sweep.num_seeds": trials}
    return Stage(network, dataset, settings | {k.replace("__", "."): v for k, v in changes.items()})


def training(options: Namespace, workload: str, network: Network, trials: int) -> Rows:
    """Times the training of one network with blurjax and other ways, and matrix products, all interleaved."""
    stage = make_stage(options, network, trials)
    contenders = [Contender("blurjax", stage.run, trials)]
    for size in options.trials_per_vmap:
        other = make_stage(options, network, trials, compute__trials_per_vmap=size)
        contenders.append(Contender(f"blurjax, {size} side by side", other.run, trials))
    for mesh in options.mesh:
        other = make_stage(options, network, trials, compute__mesh=mesh)
        contenders.append(Contender(f"blurjax, mesh {mesh}", other.run, trials))
    makers: list[Any] = []
    if options.with_torch:
        makers.append(torch_contender)
        if options.dtype == "bfloat16":
            makers.append(partial(torch_contender, autocast=False))
    if workload == "W1" or not options.quick:
        makers = [flax_step, flax_vmap, *makers]
    for make in makers:
        contenders.append(make(network, trials, options.batch_size, options.dtype))
    dtypes = ["float32"] if jax.default_backend() == "cpu" else ["float32", "bfloat16"]
    products = [matmul(dtype) for dtype in dtypes]
    times = interleave([*contenders, *products], options.rounds, options.seconds)

    flop = network.flop(options.batch_size)
    machine = _flop_rate(times, f"matmul {options.dtype}") * _independent_devices()
    for contender in contenders:
        own = times[contender.name]
        ratio = own / times["blurjax"]
        share = flop / own / 1e-3 / machine
        more = {
            "title": network.title,
            "batch_size": options.batch_size,
            "dtype": options.dtype,
            "ratio_to_blurjax": float(np.median(ratio)),
            "ratio_spread": spread(ratio),
            "gflop_per_trial_step": flop / 1e9,
            "share_of_matmul": float(np.median(share)),
        }
        if contender.name == "blurjax":
            more["trials_per_vmap"] = stage.programs.layout.trials_per_vmap
        yield row(workload, contender.name, trials, own, **more)
    for product in products:
        rate = _flop_rate(times, product.name) / 1e9
        more = {"gflop_per_s": float(np.median(rate)), "gflop_per_s_spread": spread(rate)}
        yield row(workload, product.name, 1, times[product.name], size=matmul_size(), **more)


def _flop_rate(times: Times, name: str) -> np.ndarray:
    """Returns the operations a second of a matrix product f64[rounds]; on CPU, bfloat16 counts as float32."""
    product = times.get(name, times["matmul float32"])
    return 2 * matmul_size() ** 3 / product / 1e-3


def _independent_devices() -> int:
    """Returns the number of devices that each reach the full rate: the devices of a CPU share its cores."""
    return 1 if jax.default_backend() == "cpu" else jax.device_count()


def pipeline(options: Namespace) -> Rows:
    """Times whole epochs, resident and streamed, and the same number of steps on one batch on the device."""
    trials = jax.device_count()
    steps = 100 if jax.default_backend() == "cpu" else 800
    steps //= 5 if options.quick else 1
    changes = compute_settings(options) | {"sweep.num_seeds": trials}
    changes |= {"compute.chunk_steps": steps // 4}
    with tempfile.TemporaryDirectory() as directory:
        dataset = random_dataset(CNN.image_size, steps * options.batch_size, Path(directory))
        limits = {"resident": {}, "streaming": {"data.resident_limit": 0}}
        contenders = [
            Contender(name, Stage(CNN, dataset, changes | limit).run_epochs, trials, steps)
            for name, limit in limits.items()
        ]
        contenders.append(
            fixed_batch(Stage(CNN, dataset, changes), options.batch_size, trials, steps)
        )
        times = interleave(contenders, options.rounds, options.seconds)
    for contender in contenders:
        own = times[contender.name]
        share = 1 - times["fixed batch"] / own
        more = {"pipeline_share": float(np.median(share)), "pipeline_share_spread": spread(share)}
        yield row("pipeline", contender.name, trials, own, title=CNN.title, **more)


def fixed_batch(stage: Stage, batch_size: int, trials: int, steps: int) -> Contender:
    """Returns steps on one batch of floats: without an order, gathering, or chunks of an epoch."""
    programs = stage.programs
    size = CNN.image_size
    images = np.random.default_rng(0).random((batch_size, size, size, 3), np.float32)
    index = np.arange(batch_size, dtype=np.int32)
    batch = {"image": images, "label": index % 10, "index": index, "mask": index >= 0}
    batch = jax.device_put(batch, shared(programs.layout.mesh))
    step = programs.networks.classifier_step(programs.view)

    def loop(state: Any, views: Any, batch: Any, length: Any) -> Any:
        def body(_: Any, state: Any) -> Any:
            # Computations that depend on the batch only must not be moved out of the loop.
            same, _ = jax.lax.optimization_barrier((batch, state.step))
            return step(state, views, same)[0]

        return jax.lax.fori_loop(0, length, body, state)

    axes = (0, AXES, None, None)
    train = jax.jit(sweep(loop, axes, **programs.layout._asdict()), donate_argnums=0)

    def run(repeats: int) -> None:
        left = repeats * steps
        while left:
            length = min(left, MOST_REPEATS)
            stage.states = train(stage.states, stage.views, batch, length)
            left -= length
        jax.block_until_ready(stage.states)

    return Contender("fixed batch", run, trials, steps)


def linear(options: Namespace) -> Rows:
    """Times an epoch with one to ten times the examples, and with one to ten times the trials."""
    devices = jax.device_count()
    base = 2 * options.batch_size if options.quick else 10 * options.batch_size
    points = [("examples", k, base * k, devices) for k in LINEAR]
    points += [("trials", k, base, devices * k) for k in LINEAR]
    width = 8 if options.quick else 32
    stages = [
        make_stage(options, CNN, trials, examples=examples, classifier__model__width=width)
        for _, _, examples, trials in points
    ]
    contenders = [
        Contender(f"{variable} x{k}", stage.run_epochs)
        for (variable, k, _, _), stage in zip(points, stages, strict=True)
    ]
    times = interleave(contenders, options.rounds, options.seconds)
    for (variable, k, examples, trials), stage in zip(points, stages, strict=True):
        epoch = times[f"{variable} x{k}"]
        more = {"examples": examples, "seconds_per_epoch": float(np.median(epoch)) / 1e3}
        each = epoch / stage.steps_per_epoch / trials
        yield row("linear", f"blurjax, {variable} x{k}", trials, each, title=CNN.title, **more)
    for variable in ("examples", "trials"):
        medians = [float(np.median(times[f"{variable} x{k}"])) for k in LINEAR]
        exponent, r_squared = power_law(LINEAR, medians)
        fit = {"exponent": exponent, "r_squared": r_squared}
        yield {"workload": "linear", "contender": f"fit over {variable}", **fit}


def power_law(x: Any, y: Any) -> tuple[float, float]:
    """Returns the exponent of y ~ x^exponent and R², by least squares on logarithms."""
    x, y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    exponent, offset = np.polyfit(x, y, 1)
    unexplained = ((y - exponent * x - offset) ** 2).sum()
    return float(exponent), float(1 - unexplained / ((y - y.mean()) ** 2).sum())


def default_trials(options: Namespace, workload: str) -> list[int]:
    """Returns the default numbers of trials of a workload."""
    on_cpu = jax.default_backend() == "cpu"
    if workload == "W3":
        return ([1] if options.quick else [1, 2, 4, 8, 16]) + ([] if on_cpu else [32])
    if workload == "W1" and not on_cpu:
        return [8, 32]
    if not on_cpu:
        return [8]
    return [1, 2 if options.quick or workload == "W2" else 8]  # fewer than cores, and more


def compared(options: Namespace, *, workload: str, network: Network) -> Rows:
    """Yields the rows of `training` for each number of trials."""
    for trials in options.trials or default_trials(options, workload):
        yield from training(options, workload, network, trials)


W1 = partial(compared, workload="W1", network=CNN)
W2 = partial(compared, workload="W2", network=AUTOENCODER)
W3 = partial(compared, workload="W3", network=CNN)
residual = partial(compared, workload="residual", network=RESNET)
