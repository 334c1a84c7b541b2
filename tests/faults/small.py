"""Settings of the run that the tests of faults disturb."""

SMALL = {
    "sweep__num_seeds": 2,
    "autoencoder__epochs": 6,
    "classifier__epochs": 6,
    "views__train": ["original", "reconstruction"],
    "views__test": ["original", "reconstruction"],
}
