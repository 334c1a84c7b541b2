"""The numbers that stand beside the answer of a run."""

from __future__ import annotations

from typing import NamedTuple

from blurjax.analysis.formatting import count, percent, signed
from blurjax.analysis.types import Results
from blurjax.report.cautions import components_ahead


class Fact(NamedTuple):
    """A number that stands beside the answer."""

    label: str
    text: str
    anchor: str
    """The part of "How it was computed" that explains it."""


def facts(results: Results) -> list[Fact]:
    """Returns the numbers that a reader needs beside the answer to judge it."""
    points = [point for point in results["points"] if point["trials"]]
    found = []
    psnr = [point["reconstruction"]["psnr"].get("test", {}).get("mean") for point in points]
    finite = [decibels for decibels in psnr if decibels is not None]
    if finite:
        ends = dict.fromkeys((f"{min(finite):.1f}", f"{max(finite):.1f}"))
        found.append(Fact("PSNR", f"{' to '.join(ends)} dB (reconstructions, test)", "quality"))
    autoencoders = [point["training_length"]["autoencoder"] for point in points]
    gains = [
        block["twice_the_steps"]["gain"] for block in autoencoders if "twice_the_steps" in block
    ]
    falls = [block["last_fifth_change"] for block in autoencoders if block]
    if known := [gain for gain in gains if gain is not None]:
        ends = dict.fromkeys(f"{gain:+.2f}".replace("-", "−") for gain in (min(known), max(known)))
        found.append(Fact("twice the steps", f"{' to '.join(ends)} dB", "training-length"))
    elif components_ahead(points):  # how little the loss still fell would say the contrary
        found.append(Fact("autoencoder", "keeps less than principal components do", "quality"))
    elif known := [fall for fall in falls if fall is not None]:
        size = f"loss {signed(-max(known))}% over the last fifth; not trained longer to compare"
        found.append(Fact("autoencoder", size, "training-length"))
    counts = results["dataset"]["class_counts"]["test"]
    chance = f"{percent(max(counts) / sum(counts))} (the most frequent class)"
    if falls and not any("pca" in point["quality"] for point in points):
        unknown = "not known (the view pca is not in the run)"
        found.append(Fact("against principal components", unknown, "quality"))
    size = results["dataset"]["examples"]["test"]
    images = f"{count(size, 'image')}; 1 point = {count(size / 100, 'image')}"
    trials = [len(point["trials"]) for point in points] or [0]
    ends = dict.fromkeys((min(trials), max(trials)))
    return [
        *found,
        Fact("chance", chance, "evaluation"),
        Fact("test set", images, "intervals"),
        Fact("trials", " to ".join(map(str, ends)), "intervals"),
    ]
