"""`python -m transferscope`: the command, where its script is not on the path."""

from transferscope.cli import command

if __name__ == "__main__":
    command()
