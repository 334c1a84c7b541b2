"""Run directories, locks, signals, several processes, and errors: what a program needs that must not lose anything."""
