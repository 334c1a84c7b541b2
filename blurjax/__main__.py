"""`python -m blurjax` is the command `blurjax`."""

from blurjax.cli.commands import main

if __name__ == "__main__":
    main()
