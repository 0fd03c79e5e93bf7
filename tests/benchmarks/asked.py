"""What a benchmark is asked for on its command line, so that every one answers --help."""

import argparse
from collections.abc import Iterable


def words(doc: str | None, name: str = "", choices: Iterable[str] | None = None) -> list[str]:
    """The arguments, each one of `choices` if there are some; none are taken without a `name`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if name:
        known = None if choices is None else list(choices)
        parser.add_argument("words", nargs="*", metavar=name, help=f"some of {', '.join(known)}" if known else None)
    given = vars(parser.parse_args()).get("words", [])
    wrong = [word for word in given if choices is not None and word not in choices]
    if wrong:
        parser.error(f"{wrong[0]!r} is none of {', '.join(choices or ())}")
    return given
