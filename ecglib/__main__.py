"""`python -m ecglib` is `ecglib`."""

from ecglib.cli import main

main()
