"""Lists of integers and dimensions as the command line reads them."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.cli.options.lists import (
    BITS_LIST,
    DIMENSION,
    MAX_DIMENSION,
    MAX_LIST_LENGTH,
    NODES_LIST,
    SEEDS_LIST,
    IntListType,
    parse_dimension,
    parse_int_list,
)

numbers = st.integers(0, 10**15)
parts = st.one_of(
    numbers.map(lambda n: (str(n), [n])),
    st.tuples(numbers, st.integers(0, 20)).map(
        lambda pair: (f"{pair[0]}..{pair[0] + pair[1]}", list(range(pair[0], pair[0] + pair[1] + 1)))
    ),
)


@given(st.lists(numbers, min_size=1, unique=True))
def test_formatting_then_parsing_changes_nothing(entries):
    """Parsing distinct numbers joined by commas gives them back, in their order."""
    assert parse_int_list(",".join(map(str, entries))) == tuple(entries)


@given(st.lists(parts, min_size=1, max_size=20))
def test_ranges_are_inclusive_and_duplicates_are_dropped(described):
    """Any mixture of numbers and ranges gives each number once, at its first position."""
    text = ",".join(part for part, _ in described)
    expected = [number for _, entries in described for number in entries]

    assert parse_int_list(text) == tuple(sorted(set(expected), key=expected.index))


def list_or_refusal(text):
    """Return the list, or the message of the ValueError."""
    try:
        return parse_int_list(text)
    except ValueError as error:
        return str(error)


@given(st.text(alphabet="0123456789,.-+ x", max_size=12))
def test_any_text_gives_a_list_or_one_clear_line(text):
    """Whatever is typed, the answer is a list of integers or a ValueError of one line."""
    answer = list_or_refusal(text)

    if isinstance(answer, str):
        assert len(answer.splitlines()) == 1
    else:
        assert 1 <= len(answer) <= MAX_LIST_LENGTH
        assert all(isinstance(entry, int) and entry >= 0 for entry in answer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty part; write numbers and ranges such as"),
        ("2,,4", "empty part; write numbers and ranges such as"),
        ("2,4,", "empty part"),
        ("two", "'two' is neither a number nor a range; write"),
        ("-1", "'-1' is neither"),
        ("1.5", "'1.5' is neither"),
        ("1...8", "'1...8' is neither"),
        ("1..", "'1..' is neither"),
        ("1-8", "'1-8' is neither"),
        ("²", "'²' is neither"),
        ("8..1", "'8..1' runs backwards; write 1..8"),
        ("1..10001", "'1..10001' has more than 10000 entries"),
        ("0..999999999999999999", "has more than 10000 entries"),
        ("0..9999,10000", "has more than 10000 entries"),
        ("9" * 5000, "is neither"),
    ],
)
def test_bad_lists_are_refused_with_the_right_form(text, message):
    """Empty parts, words, backward and endless ranges are refused, and the right form is named."""
    with pytest.raises(ValueError) as caught:
        parse_int_list(text)
    assert message in str(caught.value)


def test_the_longest_list_is_allowed():
    """A list of exactly the greatest length is read, duplicates not counted."""
    assert len(parse_int_list("1..10000,5,1..10")) == MAX_LIST_LENGTH


@pytest.mark.parametrize(
    ("kind", "good", "bad", "message"),
    [
        (IntListType(), "0,7", "x", "neither"),
        (BITS_LIST, "1..15,32", "16", "16 is out of bounds; each entry must be from 1 to 15 or 32"),
        (BITS_LIST, "32", "0", "0 is out of bounds"),
        (BITS_LIST, "8", "1..32", "16 is out of bounds"),
        (NODES_LIST, "1,2,4,8", "0", "0 is out of bounds; each entry must be at least 1"),
        (SEEDS_LIST, "0..2", "-1", "neither"),
    ],
)
def test_each_option_knows_its_bounds(kind, good, bad, message):
    """Bits are 1..15 or 32, nodes at least 1, seeds at least 0."""
    assert kind.convert(good, None, None) == parse_int_list(good)
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(bad, None, None)
    assert message in caught.value.message


def test_defaults_may_be_text_or_values():
    """A default is given as the user would write it, or as the value itself."""

    @click.command()
    @click.option("--bits", type=BITS_LIST, default=(2, 4))
    @click.option("--nodes", type=NODES_LIST, default="1..3")
    @click.option("--dim", type=DIMENSION, default=2**10)
    def show(bits, nodes, dim):
        click.echo(f"{bits} {nodes} {dim}")

    assert CliRunner().invoke(show).output == "(2, 4) (1, 2, 3) 1024\n"


@given(st.integers(1, MAX_DIMENSION))
def test_a_plain_dimension_is_itself(dimension):
    """A dimension written out is read as it is."""
    assert parse_dimension(str(dimension)) == dimension


@given(st.integers(0, 40), st.integers(0, 12))
def test_powers_and_exponents_are_exact(power, exponent):
    """2^k and 1ek are exact integers, never rounded through a float."""
    assert parse_dimension(f"2^{power}") == 2**power
    assert parse_dimension(f"1e{exponent}") == 10**exponent


@pytest.mark.parametrize(
    "text", ["", "x", "-4", "0", "1e-3", "1.5", "1.5e0", "2^", "2^41", "1e99", "9^99", "nan", "٣"]
)
def test_bad_dimensions_are_refused(text):
    """What is not a whole number between 1 and 2^40 is refused in one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_dimension(text)
