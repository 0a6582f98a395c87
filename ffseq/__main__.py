"""`python -m ffseq`."""

from ffseq.cli import command

command()
