"""The colour of each type in pictures."""

COLOURS = {
    "MA": (170, 255, 255),
    "HE": (255, 255, 85),
    "EX": (0, 0, 170),
    "SE": (170, 85, 255),
    "OD": (85, 170, 170),
}
"""RGB. Told apart with any colour vision, from each other and from the retina.

Palettes for charts (M. Okabe and K. Ito's, for instance) are made for white paper:
their orange and vermilion vanish on a fundus. These five have the largest least
difference (CIEDE2000) under normal vision and the three dichromacies, among colours of
four levels a channel that stand out from the retina.
"""
