"""Which photographs are blurry, how much and where: the detector, and the files that are rated."""

from blurjax.sharpness.bursts import find_bursts, sharpest
from blurjax.sharpness.files import RatedFile, rate_files, rate_found, rate_sharpness
from blurjax.sharpness.rating import NOTHING, RATED_SIZE, Detector, Rating, rate, rate_images
from blurjax.sharpness.reading import MAX_PIXELS, SMALLEST, Unreadable, find_photographs

__all__ = [
    "MAX_PIXELS",
    "NOTHING",
    "RATED_SIZE",
    "SMALLEST",
    "Detector",
    "RatedFile",
    "Rating",
    "Unreadable",
    "find_bursts",
    "find_photographs",
    "rate",
    "rate_files",
    "rate_found",
    "rate_images",
    "rate_sharpness",
    "sharpest",
]
