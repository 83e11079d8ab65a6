"""Loss surfaces in the space of a network's weights.

`parameters` reads weights as vectors, `directions` makes lines and planes of them,
`scene` has the images, `network` evaluates one vector, `points` evaluates many in
parallel and resumes, `hessian` finds the largest curvatures, `planning` puts a command
line into these terms.
"""
