"""Which photographs are blurry, how much, and where: classical measures, a learned detector, and their evaluation."""
