"""Which layer of a network reads what another makes."""

from typing import Any


def only_readers(net: Any) -> dict[int, int]:
    """Return the number of the only layer that reads what a layer makes, by its number.

    Layers that work in place reuse a blob's name for successive values. A layer whose
    blobs no layer or several read is left out.

    Parameters
    ----------
    net : NetParameter
    """
    made_by: dict[str, int] = {}
    readers: dict[int, list[int]] = {}
    for number, layer in enumerate(net.layer):
        for bottom in layer.bottom:
            if bottom in made_by:
                readers.setdefault(made_by[bottom], []).append(number)
        for top in layer.top:
            made_by[top] = number
    return {number: after[0] for number, after in readers.items() if len(after) == 1}
