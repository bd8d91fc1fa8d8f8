"""``python -m simcse_kit``: the command line, where its script is not on the path."""

from simcse_kit.commands.cli import main

if __name__ == "__main__":
    main()
