"""Training on several processes that mpiexec starts, each with a share of the batch."""
