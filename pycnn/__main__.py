"""Entry point of the command line: ``pycnn`` and ``python -m pycnn``."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        try:
            import click  # noqa: F401 - only to see whether it is there
        except ImportError:
            print("pycnn's command line is an extra: pip install 'pycnn[cli]'", file=sys.stderr)
            return 2
        from pycnn.cli.commands import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while the commands were loaded, or told of an interrupt
        print("interrupted", file=sys.stderr)
        return 130


def script() -> None:
    """Run the command line as a process of its own."""
    status = main()
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said: let the interpreter end quietly
    sys.exit(status)


if __name__ == "__main__":
    script()
