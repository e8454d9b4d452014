"""Run a stream of tokens to its end."""


def outputs(stream):
    """Return the list of all that a generator yields, and what it returns."""
    items = []
    while True:
        try:
            items.append(next(stream))
        except StopIteration as end:
            return items, end.value


def ids_of(stream):
    """Return the ids of an answer."""
    return outputs(stream)[1]["ids"].tolist()
