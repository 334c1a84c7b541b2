"""How the detector of blurry images is made and judged."""
