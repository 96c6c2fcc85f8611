"""Run the command line: `python -m leukoscope`, `leukoscope`."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    import sys

    from leukoscope.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # Written into a file or pipe on Windows, text goes through a code page of few signs.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    app(prog_name="leukoscope")


if __name__ == "__main__":
    main()
