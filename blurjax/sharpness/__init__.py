"""Which photographs are blurry: a learned detector, classical measures, and what is done with the files."""

from blurjax.sharpness.measures import MEASURES
from blurjax.sharpness.rating import RATED_SIZE, Detector, Rating, rate, rate_images

__all__ = ["MEASURES", "RATED_SIZE", "Detector", "Rating", "rate", "rate_images"]
