"""The error for mistakes that a user can correct."""


class UserError(Exception):
    """A user's mistake; its message is one sentence that says what is wrong, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """
