"""Timing the losses and networks: the code behind the scripts bench_*.py."""
