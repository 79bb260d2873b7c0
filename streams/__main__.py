"""``python -m streams``: the command line without its installed name."""

from streams.cli import main

main()
