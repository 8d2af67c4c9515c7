"""``python -m fmnist_sweep``."""

from fmnist_sweep.cli import main

if __name__ == "__main__":
    main()
