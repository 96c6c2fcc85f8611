"""Run the command line: `python -m leukoscope`, `leukoscope`."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    from leukoscope.cli.app import app

    app(prog_name="leukoscope")


if __name__ == "__main__":
    main()
