"""`python -m edgeprune`: the command line."""

from edgeprune.cli.app import main

if __name__ == "__main__":
    main()
