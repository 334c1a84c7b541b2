"""The command line: arguments to calls of the package, and terminal output. `commands.main` is its entry point."""
