"""`python -m retort`: the `retort` command."""

from retort.cli.app import main

if __name__ == "__main__":
    main()
