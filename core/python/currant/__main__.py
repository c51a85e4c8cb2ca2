"""`python -m currant` is the command line `currant`."""

from currant.cli import main

if __name__ == "__main__":
    main()
