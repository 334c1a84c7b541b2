"""The command line: arguments to calls of the package, and what a terminal shows. Its entry point is `commands.main`."""
