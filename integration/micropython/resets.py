"""What a board's reset is in a test."""


class Reset(KeyboardInterrupt):
    """A board resets itself; nothing that runs on it can prevent that, and what sees an application die lets it pass."""


def reset():
    raise Reset
