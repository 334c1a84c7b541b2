"""Mistakes that a user can mend."""


class UserError(Exception):
    """A mistake of the user's; its message is one sentence: what is wrong, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """
