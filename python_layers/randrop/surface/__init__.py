"""Loss surfaces: curves, maps of pixels through a training, and landscapes."""
