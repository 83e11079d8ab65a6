"""Where many pieces of work run: on this machine, or on the nodes of a cluster."""
