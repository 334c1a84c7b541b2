"""Which photographs are blurry, how much and where: the detector, and the files that it rates."""

from blurjax.sharpness.bursts import find_bursts, sharpest
from blurjax.sharpness.files import RatedFile, rate_files, rate_sharpness
from blurjax.sharpness.moving import Transfer, make_transfers, plan_transfers
from blurjax.sharpness.rating import RATED_SIZE, Detector, Rating, rate
from blurjax.sharpness.reading import SMALLEST, Unreadable

__all__ = [
    "RATED_SIZE",
    "SMALLEST",
    "Detector",
    "RatedFile",
    "Rating",
    "Transfer",
    "Unreadable",
    "find_bursts",
    "make_transfers",
    "plan_transfers",
    "rate",
    "rate_files",
    "rate_sharpness",
    "sharpest",
]
