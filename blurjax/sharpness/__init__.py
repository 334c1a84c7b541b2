"""Which photographs are blurry, how much, and where: classical measures, a learned detector, and their evaluation."""

from blurjax.sharpness.measures import MEASURES

__all__ = ["MEASURES"]
