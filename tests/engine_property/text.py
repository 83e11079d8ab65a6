"""A drawn net as a prototxt."""

_ENUMS = {
    "engine",
    "norm_region",
    "operation",
    "phase",
    "pool",
    "round_mode",
    "variance_norm",
}
# Keys of a layer that a prototxt does not have.
_OURS = {"like", "shape", "kind"}


def _lines(key, value, indent):
    if isinstance(value, dict):
        yield f"{indent}{key} {{"
        for name, inner in value.items():
            yield from _lines(name, inner, indent + "  ")
        yield f"{indent}}}"
    elif isinstance(value, list):
        for one in value:
            yield from _lines(key, one, indent)
    elif isinstance(value, bool):
        yield f"{indent}{key}: {str(value).lower()}"
    elif isinstance(value, str) and key not in _ENUMS:
        yield f'{indent}{key}: "{value}"'
    else:
        yield f"{indent}{key}: {value}"


def prototxt(net, shapes):
    """Return the text of a net.

    Parameters
    ----------
    net : dict
        Has `layers`, and optionally `force_backward`.
    shapes : dict of str to tuple of int
        The shapes of its blobs, for the Input layers.
    """
    lines = []
    if net.get("force_backward"):
        lines.append("force_backward: true")
    for layer in net["layers"]:
        shown = {k: v for k, v in layer.items() if k not in _OURS}
        if layer["type"] == "Input":
            dims = list(shapes[layer["top"][0]])
            shown["input_param"] = {"shape": {"dim": dims}}
        lines.extend(_lines("layer", shown, ""))
    return "\n".join(lines) + "\n"
