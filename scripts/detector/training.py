"""Trains an ensemble of detectors: every trial of a sweep has its own start and its own bootstrap sample."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from blurjax.engine import Array, Key, Params, Scalar, loop_steps, sweep
from blurjax.sharpness.features import STATISTICS
from blurjax.sharpness.network import Judgement, Network
from detector.examples import TILES, Example, make_example

BATCH = 128
LEARNING_RATE = 3e-3
BLURRY_FROM = 0.9
"""Strength of a blur from which on a detector must see it; weaker ones are no examples of either."""
SHARP_SIGMA = 0.3
"""What sharp images count as where strengths are learned, since they have logarithms."""
OTHER_LOSSES = 0.3
"""Weight of the losses of regions, strength and kind, beside that of the image."""


def make_examples(images: np.ndarray, count: int, seed: int, batch: int = 64) -> Example:
    """Makes photographs from images on all devices.

    Args:
      images: u8[N,H,W], sharp, brightness, H and W at least `examples.TILE`.
      count: photographs; rounded up to a multiple of `batch`.
      seed: of everything that is random.
      batch: photographs in one call.

    Returns:
      NumPy arrays with a leading axis of photographs, and the rows of `images` that each was made of, i64[count,TILES].
    """
    make = sweep(make_example)
    chosen = np.random.default_rng(seed)
    made = []
    for start in range(0, count, batch):
        rows = chosen.integers(0, len(images), (batch, TILES))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), start), batch)
        made.append(jax.tree.map(np.asarray, make(keys, images[rows])))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *made)


def train_detectors(
    examples: Example, seeds: np.ndarray, left_out: np.ndarray, num_steps: int
) -> tuple[Params, np.ndarray]:
    """Trains detectors, all in one program.

    Args:
      examples: from `make_examples`.
      seeds: i32[T], one for each detector.
      left_out: i32[T], the kind in `KINDS` that a detector never sees; 0 for none.
      num_steps: of Adam, on batches of `BATCH` examples; the learning rate rises and falls (one cycle).

    Returns:
      Parameters of `Network`, with a leading axis [T], and the losses f32[T,num_steps].
    """
    optimizer = optax.adamw(
        optax.cosine_onecycle_schedule(num_steps, LEARNING_RATE), weight_decay=1e-4
    )
    steps = loop_steps(_make_step(optimizer), _get_batch, num_steps)

    def train(seed: Scalar, left_out: Scalar, examples: Example) -> tuple[Params, Array]:
        start, sample, batches = jax.random.split(jax.random.key(seed), 3)
        params = Network().init(start, jnp.zeros((1, STATISTICS)))
        rows = jax.random.randint(sample, examples.kind.shape, 0, len(examples.kind))
        data = (examples, rows, batches, left_out)
        (params, _), losses = steps((params, optimizer.init(params)), data, 0, num_steps)
        return params, losses

    return jax.tree.map(np.asarray, sweep(train, in_axes=(0, 0, None))(seeds, left_out, examples))


def _get_batch(data: tuple[Example, Array, Key, Scalar], i: Scalar) -> dict[str, Any]:
    """Draws examples from a trial's sample, some of them only in part: small images have few regions."""
    examples, sample, key, left_out = data
    rows, whole = jax.random.split(jax.random.fold_in(key, i))
    chosen = sample[jax.random.randint(rows, (BATCH,), 0, len(sample))]
    batch = jax.tree.map(lambda x: x[chosen], examples)
    present = jax.vmap(_part, (0, None))(jax.random.split(whole, BATCH), batch.strengths.shape[1])
    known = (batch.kind != left_out) | (left_out == 0)
    return {"example": batch, "present": present, "known": known}


def _part(key: Key, regions: int) -> Array:
    """Returns which regions are there: all, or all but some of the first tile's, or a block of the first tile."""
    which, size, place = jax.random.split(key, 3)
    side = round((regions // TILES) ** 0.5)
    height = jax.random.randint(size, (), 1, side + 1)
    top, left = jax.random.randint(place, (2,), 0, side - height + 1)
    at = jnp.arange(side)
    block = ((at >= top) & (at < top + height))[:, None] & ((at >= left) & (at < left + height))[
        None
    ]
    first = jnp.pad(block.reshape(-1), (0, regions - side**2))
    others = jnp.arange(regions) >= side**2
    draw = jax.random.uniform(which)
    return jnp.where(draw < 0.3, True, jnp.where(draw < 0.5, first | others, first))


def _make_step(optimizer: optax.GradientTransformation) -> Any:
    def step(state: tuple[Params, Any], batch: dict[str, Any]) -> tuple[tuple[Params, Any], Array]:
        loss, gradient = jax.value_and_grad(_loss)(state[0], batch)
        updates, opt_state = optimizer.update(gradient, state[1], state[0])
        return (optax.apply_updates(state[0], updates), opt_state), loss

    return step


def _loss(params: Params, batch: dict[str, Any]) -> Array:
    example, present, known = batch["example"], batch["present"], batch["known"]
    features = example.features.astype(jnp.float32)
    judged: Judgement = jax.vmap(Network().apply, (None, 0, 0))(params, features, present)  # pyright: ignore
    blurry = example.blurry
    log_sigmas = jnp.log(jnp.maximum(example.strengths, SHARP_SIGMA))
    log_sigma = jnp.nanmean(jnp.where(blurry[:, None], log_sigmas, jnp.log(SHARP_SIGMA)), axis=1)
    certain = known & (~blurry | (log_sigma >= jnp.log(BLURRY_FROM)))
    image = optax.sigmoid_binary_cross_entropy(judged.logit, blurry)
    clear = (example.strengths == 0) | (example.strengths >= BLURRY_FROM)  # NaN: nothing is seen
    clear = clear & present
    region = optax.sigmoid_binary_cross_entropy(judged.region_logits, example.strengths > 0)
    region = (region * clear).sum(1) / jnp.maximum(clear.sum(1), 1)
    strength = optax.huber_loss(judged.log_sigma, log_sigma)
    kind = optax.softmax_cross_entropy_with_integer_labels(
        judged.kind_logits, jnp.maximum(example.kind - 1, 0)
    )
    others = known * (region + strength) + (certain & blurry) * kind
    return (certain * image + OTHER_LOSSES * others).mean()
