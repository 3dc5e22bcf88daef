"""The one exception a user sees: a sentence, never a traceback."""


class UserError(Exception):
    """A mistake that the person at the keyboard can mend.

    The message is one line (a list of broken files may follow on lines of its own): which key or file, what came,
    what was expected, what exists, what to do.
    """
