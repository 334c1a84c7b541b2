"""Measures how well the detector and the classical measures tell blurry images from sharp ones: docs/sharpness.md.

    python scripts/evaluate_detector.py --simulate scenes=PHOTOGRAPHS/test --real phones=FOLDER --figures docs/figures

--simulate NAME=FOLDER: sharp images, of which half stay as they are and half are blurred here, in all ways, with
strengths from 1 to 4 pixels. --real NAME=FOLDER: images that are blurry or not, in its folders `blurred` and `sharp`.
Detectors that never saw a kind of blur (`train_detector.py --leave-out`) are found beside the detector and evaluated on
that kind.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from detector.blurs import blur
from detector.evaluation import Bounded, auc_difference, evaluate, reliability
from detector.measures import MEASURES
from detector.reading import read_as_rated

from blurjax import configure_jax
from blurjax.sharpness import Detector, Rating, find_photographs, rate_images
from blurjax.sharpness.network import KINDS
from blurjax.sharpness.rating import SHIPPED

WEAKEST, STRONGEST = 1.0, 4.0
MOST_IMAGES = 2400
AT_ONCE = 60


@dataclass
class Images:
    """Images to judge, and the truth about them: arrays of N, but for the images.

    Attributes:
      images: list of u8[H,W], as they are rated.
      photographs: which of them are versions of one.
      blurry: bool.
      kinds: positions in `KINDS`; 0 for sharp images and where it is not known.
      strengths: in pixels; NaN where it is not known.
    """

    images: list[np.ndarray]
    photographs: np.ndarray
    blurry: np.ndarray
    kinds: np.ndarray
    strengths: np.ndarray


def main() -> None:
    """Prints the tables, and draws the diagrams."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--simulate", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--real", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--detector", type=Path, default=SHIPPED)
    parser.add_argument("--figures", type=Path, help="folder for the reliability diagram")
    args = parser.parse_args()
    if args.figures:
        args.figures.mkdir(parents=True, exist_ok=True)
    configure_jax()
    detector = Detector.load(args.detector)
    diagrams = {}
    for option, read in ((args.simulate, simulated), (args.real, real)):
        for name, folder in (given.split("=", 1) for given in option):
            data = read(Path(folder))
            ratings = rate_images(data.images, detector)
            probabilities = np.array([rating.probability for rating in ratings])
            diagrams[name] = reliability(probabilities, data.blurry, data.photographs)
            print(f"\n## {name}\n")
            report(data, probabilities)
            if read is simulated:
                report_kinds(data, ratings, probabilities, args.detector)
    if args.figures:
        draw(diagrams, args.figures / "sharpness-reliability.png")


def find(folder: Path) -> list[Path]:
    """Returns the image files below a folder in an order that is mixed and always the same."""
    paths = sorted(find_photographs([folder])[0])
    return [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]


def simulated(folder: Path) -> Images:
    """Blurs every image of a folder in one way; leaves out those whose blur came out weaker or stronger than wanted."""
    sharp = read_as_rated(find(folder)[:MOST_IMAGES])
    height, width = (min(image.shape[axis] for image in sharp) // 8 * 8 for axis in (0, 1))
    sharp = np.stack([image[:height, :width] for image in sharp])
    kinds = np.arange(len(sharp)) % (len(KINDS) - 1) + 1
    sigmas = np.exp(np.random.default_rng(1).uniform(np.log(0.7), np.log(4.5), len(sharp)))
    made = [
        jax.jit(jax.vmap(blur))(
            sharp[rows].astype(np.float32) / 255,
            kinds[rows],
            sigmas[rows].astype(np.float32),
            jax.random.split(jax.random.key(rows.start), len(kinds[rows])),
        )
        for rows in (slice(i, i + AT_ONCE) for i in range(0, len(sharp), AT_ONCE))
    ]
    blurred = np.concatenate([np.round(255 * np.asarray(images)) for images, _ in made])
    strengths = np.concatenate([np.asarray(s) for _, s in made])
    chosen = np.flatnonzero((strengths >= WEAKEST) & (strengths <= STRONGEST))
    return Images(
        [*sharp[chosen], *blurred[chosen].astype(np.uint8)],
        np.tile(chosen, 2),
        np.repeat([False, True], len(chosen)),
        np.concatenate([np.zeros(len(chosen), int), kinds[chosen]]),
        np.concatenate([np.zeros(len(chosen)), strengths[chosen]]),
    )


def real(folder: Path) -> Images:
    """Reads images that are blurry or not; what their names begin with, up to "_", says which are of one scene."""
    paths = [p for p in find(folder) if p.parent.name in ("blurred", "sharp")]
    blurry = np.array([path.parent.name == "blurred" for path in paths])
    unknown = np.full(len(paths), np.nan)
    scenes = np.array([path.stem.split("_")[0] for path in paths])
    return Images(read_as_rated(paths), scenes, blurry, np.zeros(len(paths), int), unknown)


def report(data: Images, probabilities: np.ndarray) -> None:
    """Prints the detector beside the classical measures."""
    found = evaluate(probabilities, data.blurry, data.photographs, are_probabilities=True)
    right = (probabilities >= 0.5) == data.blurry
    print(
        f"{found.num_images} images of {found.num_photographs} photographs, {data.blurry.sum()} of them blurry.\n"
    )
    print("| | AUC | average precision | detector's AUC minus this |\n| --- | --- | --- | --- |")
    print(f"| detector | {shown(found.auc)} | {shown(found.average_precision)} | |")
    scores = {name: [] for name in MEASURES}
    measures = {name: jax.jit(measure) for name, measure in MEASURES.items()}
    for image in data.images:
        for name, measure in measures.items():
            scores[name].append(-float(measure(jnp.float32(image) / 255)))
    for name, values in scores.items():
        classical = evaluate(values, data.blurry, data.photographs)
        more = auc_difference(probabilities, values, data.blurry, data.photographs)
        print(
            f"| {name} | {shown(classical.auc)} | {shown(classical.average_precision)} | {shown(more)} |"
        )
    sharp, blurry = right[~data.blurry].mean(), right[data.blurry].mean()
    print(
        f"\nCalibration error (ECE): {shown(found.ece)}. Right at a threshold of 0.5: {right.mean():.1%}; "
        f"of sharp images {sharp:.1%}, of blurry ones {blurry:.1%}."
    )


def report_kinds(
    data: Images, ratings: list[Rating], probabilities: np.ndarray, path: Path
) -> None:
    """Prints one row for each kind of blur and each range of strengths."""
    print(
        "\n| blur | n | AUC | found at 0.5 | kind named | error of sigma | AUC of a detector that never saw it |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    sigmas = np.array([rating.sigma for rating in ratings])
    errors = np.abs(np.log(sigmas / np.maximum(data.strengths, 0.1)))
    for label, rows, kind in _parts(data):
        chosen = rows | ~data.blurry
        labels, photographs = data.blurry[chosen], data.photographs[chosen]
        auc = evaluate(probabilities[chosen], labels, photographs).auc
        without = path.with_stem(f"{path.stem}_without_{label}")
        unseen = ""
        if without.exists():
            images = [data.images[i] for i in np.flatnonzero(chosen)]
            others = [r.probability for r in rate_images(images, Detector.load(without))]
            unseen = shown(evaluate(others, labels, photographs).auc)
        named = (
            np.mean([ratings[i].kind == label for i in np.flatnonzero(rows)]) if kind else np.nan
        )
        print(
            f"| {label} | {rows.sum()} | {shown(auc)} | {(probabilities[rows] >= 0.5).mean():.1%} | "
            f"{'' if np.isnan(named) else f'{named:.0%}'} | {np.exp(np.median(errors[rows])) - 1:.0%} | {unseen} |"
        )


def _parts(data: Images) -> Iterator[tuple[str, np.ndarray, bool]]:
    for kind in range(1, len(KINDS)):
        yield KINDS[kind], data.kinds == kind, True
    for low, high in ((1.0, 1.4), (1.4, 2.0), (2.0, 2.8), (2.8, 4.0)):
        yield (
            f"{low} to {high} pixels",
            data.blurry & (data.strengths >= low) & (data.strengths < high),
            False,
        )


def shown(number: Bounded | None) -> str:
    """Formats a number with its 95% interval."""
    assert number is not None
    return f"{number.value:.3f} [{number.interval[0]:.3f}, {number.interval[1]:.3f}]"


def draw(diagrams: dict, path: Path) -> None:
    """Draws a reliability diagram for each data set."""
    figure, axes = plt.subplots(1, len(diagrams), figsize=(3.2 * len(diagrams), 3.2), squeeze=False)
    for ax, (name, diagram) in zip(axes[0], diagrams.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        there = diagram.count > 0
        low, high = (
            np.abs(diagram.interval[there, i] - diagram.share_blurry[there]) for i in (0, 1)
        )
        x, y, count = diagram.probability[there], diagram.share_blurry[there], diagram.count[there]
        ax.errorbar(x, y, (low, high), fmt="none", linewidth=1)
        ax.scatter(x, y, s=3 + 80 * count / count.max())  # an area for a number of images
        ax.set(
            title=name,
            xlabel="probability of blurry",
            ylabel="share that is blurry",
            xlim=(0, 1),
            ylim=(-0.03, 1.03),
        )
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
