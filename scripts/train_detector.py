"""Trains the detector of blurry photographs that comes with blurjax.

    python scripts/train_detector.py PHOTOGRAPHS --out FILE.safetensors

PHOTOGRAPHS is a folder of sharp images (below it, in any folders) of at least 96x96 pixels; those in a folder `test`
are never used here. They are reduced as they are when they are rated. The detector that is shipped was made from the
photographs of scenes named in docs/sharpness.md, with the defaults and --leave-out of all kinds; on two cores of one
machine the same bytes came out twice.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from detector.examples import TILE
from detector.reading import read_as_rated
from detector.training import make_examples, train_detectors

from blurjax import configure_jax
from blurjax.sharpness import Detector, find_photographs
from blurjax.sharpness.network import KINDS


def main() -> None:
    """Trains, and writes the detectors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--detectors", type=int, default=8)
    parser.add_argument("--examples", type=int, default=16384)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--leave-out",
        choices=KINDS[1:],
        nargs="*",
        default=[],
        metavar="KIND",
        help="train one more detector each that never sees a kind of blur, to be evaluated on it",
    )
    args = parser.parse_args()
    configure_jax()

    images = read_images(args.photographs)
    started = time.perf_counter()
    examples = make_examples(images, args.examples, args.seed)
    print(
        f"{len(images)} images made {args.examples} examples in {time.perf_counter() - started:.0f} s."
    )
    started = time.perf_counter()
    left_out = np.array([0] * args.detectors + [KINDS.index(kind) for kind in args.leave_out])
    seeds = np.arange(len(left_out)) + args.seed
    params, losses = train_detectors(examples, seeds, left_out, args.steps)
    last = losses[:, -args.steps // 10 :].mean(1)
    print(
        f"Trained in {time.perf_counter() - started:.0f} s; losses at the end: {np.round(last, 3)}."
    )
    facts = {
        "images": str(len(images)),
        "examples": str(len(examples.kind)),
        "steps": str(args.steps),
        "seed": str(args.seed),
    }
    for kind in (0, *left_out[args.detectors :]):
        name = f"{args.out.stem}_without_{KINDS[kind]}" if kind else args.out.stem
        chosen = jax.tree.map(lambda x: x[left_out == kind], params)  # noqa: B023
        Detector(chosen, facts).save(args.out.with_stem(name))
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


def read_images(folder: Path) -> np.ndarray:
    """Reads the images below a folder, but for those in folders named test, as brightness u8[N,H,W] of one size."""
    found, _ = find_photographs([folder])
    paths = sorted(path for path in found if "test" not in path.relative_to(folder).parts)
    images = read_as_rated(paths)
    side = min((min(image.shape) for image in images), default=0)
    if side < TILE:
        raise SystemExit(
            f"{len(images)} images were read; all must have at least {TILE}x{TILE} pixels, and the least has {side}."
        )
    return np.stack([image[:side, :side] for image in images])


if __name__ == "__main__":
    main()
