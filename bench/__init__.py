"""The benchmark suite: `python -m bench`. README.md in this directory tells what is measured and how."""
