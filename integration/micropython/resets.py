"""What a board's reset is in a test."""


class Reset(BaseException):
    """A board resets itself; nothing that runs on it can prevent that."""


def reset():
    raise Reset
