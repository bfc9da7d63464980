"""Entry point of the command line: ``pycnn`` and ``python -m pycnn``."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        import click  # noqa: F401 - only to see whether it is there
    except ImportError:
        print("pycnn's command line is an extra: pip install 'pycnn[cli]'", file=sys.stderr)
        return 2
    from pycnn.cli.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
