"""Trains the detector of blurry photographs that comes with blurjax.

    python scripts/train_detector.py PHOTOGRAPHS

PHOTOGRAPHS is a folder of sharp images (below it, in any folders) of at least 96x96 pixels; those in a folder `test`
are never used here. The detector that is shipped was made from the photographs of natural scenes named in
docs/sharpness.md, with the defaults; the same machine makes the same bytes again.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from detector.examples import TILE
from detector.training import make_examples, train_detectors
from PIL import Image

from blurjax import configure_jax
from blurjax.sharpness import Detector
from blurjax.sharpness.network import KINDS
from blurjax.sharpness.rating import SHIPPED


def main() -> None:
    """Trains, and writes the detectors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
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
        "examples": str(args.examples),
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
    paths = sorted(
        path for path in folder.rglob("*.jpg") if "test" not in path.relative_to(folder).parts
    )
    pictures = [Image.open(path).convert("L") for path in paths]
    side = min(min(picture.size) for picture in pictures)
    if side < TILE:
        raise SystemExit(
            f"Images must have at least {TILE}x{TILE} pixels, but one has {side} along one side."
        )
    crops = [picture.crop((0, 0, side, side)) for picture in pictures]
    return np.stack([np.asarray(crop) for crop in crops])


if __name__ == "__main__":
    main()
