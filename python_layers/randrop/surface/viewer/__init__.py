"""The page that `surface.py view` writes: what it holds, and how it is packed."""
