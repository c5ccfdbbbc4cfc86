"""`python -m pmtools` is `pmtools`."""

from pmtools.cli import main

if __name__ == "__main__":
    main()
