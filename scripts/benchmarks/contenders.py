"""Other ways to train the same networks, with which blurjax is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.networks import Network
from benchmarks.timing import Contender

LEARNING_RATE = 1e-3
BATCHES = 4
"""Number of different batches; they are on the device before the clock starts."""


def random_batches(network: Network, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns BATCHES pairs of images f32[B,H,W,3] in [0,1] and labels i32[B]."""
    rng = np.random.default_rng(0)
    shape = (batch_size, network.image_size, network.image_size, 3)
    return [
        (rng.random(shape, np.float32), rng.integers(0, 10, batch_size, dtype=np.int32))
        for _ in range(BATCHES)
    ]


def random_params(model: nn.Module, size: int, seed: int) -> Any:
    """Returns random parameters of a module; flax's own initialisers take seconds to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return jax.tree.map(lambda leaf: 0.05 * rng.standard_normal(leaf.shape, np.float32), shapes)


def _plain(network: Network, trials: int, dtype: str) -> tuple[list[Any], Callable[..., Any]]:
    """Returns the states of all trials and a step (state, images, labels) -> state, in plain flax and optax."""
    model, optimizer = network.plain(jnp.dtype(dtype)), optax.adam(LEARNING_RATE)

    def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        variables, opt_state = state

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            given = variables | {"params": params}
            output, moved = model.apply(given, images, mutable=["batch_stats"])
            return network.loss(output, images, labels), moved

        gradient, moved = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, **moved}, opt_state

    initial = [random_params(model, network.image_size, seed) for seed in range(trials)]
    states = [(dict(v), optimizer.init(v["params"])) for v in initial]
    return jax.tree.map(jnp.asarray, states), step


def flax_step(network: Network, trials: int, batch_size: int, dtype: str) -> Contender:
    """Trains with one jitted step per call, one seed after another."""
    states, step = _plain(network, trials, dtype)
    jitted = jax.jit(step, donate_argnums=0)
    batches = jax.tree.map(jnp.asarray, random_batches(network, batch_size))

    def run(repeats: int) -> None:
        for trial in range(trials):
            for number in range(repeats):
                states[trial] = jitted(states[trial], *batches[number % BATCHES])
        jax.block_until_ready(states)

    return Contender("flax_step", run, trials)


def flax_vmap(network: Network, trials: int, batch_size: int, dtype: str) -> Contender:
    """Trains with one jitted step per call, `jax.vmap` over the seeds; each has its own batches."""
    states, step = _plain(network, trials, dtype)
    jitted = jax.jit(jax.vmap(step), donate_argnums=0)
    state = _stacked(states)
    own = random_batches(network, batch_size)
    batches = [_stacked([own[(n + t) % BATCHES] for t in range(trials)]) for n in range(BATCHES)]

    def run(repeats: int) -> None:
        nonlocal state
        for number in range(repeats):
            state = jitted(state, *batches[number % BATCHES])
        jax.block_until_ready(state)

    return Contender("flax_vmap", run, trials)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def matmul_size() -> int:
    """Returns the number of rows and columns, large enough for the machine's full rate."""
    return 2048 if jax.default_backend() == "cpu" else 8192


def matmul(dtype: str) -> Contender:
    """Multiplies square matrices at jax's default precision: on CPU with all cores, else on one device."""
    size = matmul_size()
    product = jax.jit(jnp.matmul)
    matrix = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype)) / size**0.5

    def run(repeats: int) -> None:
        result = matrix
        for _ in range(repeats):
            result = product(matrix, result)
        jax.block_until_ready(result)

    return Contender(f"matmul {dtype}", run)
