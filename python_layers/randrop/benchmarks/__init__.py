"""Timing the losses and networks: what the scripts bench_*.py share and call."""
