"""`python -m sweepstake`: the same as the command."""

from sweepstake.cli import command

if __name__ == "__main__":
    command()
