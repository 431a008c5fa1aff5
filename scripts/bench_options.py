"""What the benches of `scripts/bench` that consist of cases are asked."""

import argparse


def listed(text):
    """The parts of a list with commas."""
    return [part for part in text.split(",") if part]


def parser_of(name, description, cases):
    """The options of `scripts/bench NAME`; each bench adds its own."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/bench {name}", description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--cases", type=listed, default=cases)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--binary", help="measure this one, in place of building the release binary")
    parser.add_argument("--out", help="also write the figures as JSON to this file")
    return parser


def parsed_of(parser, arguments, cases):
    """The options given; ends with an error if a case is not known."""
    options = parser.parse_args(arguments)
    unknown = [case for case in options.cases if case not in cases]
    if unknown:
        parser.error(f"unknown cases: {', '.join(unknown)}; known: {', '.join(cases)}")
    return options
