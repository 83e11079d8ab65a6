"""`python -m randrop` is the command `randrop`."""

from randrop.command import main

main()
