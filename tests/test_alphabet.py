"""Text to symbols and back: any Unicode round-trips, and what is unknown is named."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffseq.alphabet import FIXED, REPLACEMENT, Alphabet, normalised
from ffseq.errors import FfseqError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(TEXTS)
def test_any_text_round_trips_through_its_own_characters(text: str) -> None:
    alphabet = Alphabet.of_characters(text)
    symbols = alphabet.encode(text)
    assert len(symbols) == len(text)
    assert symbols.dtype.kind == "u"
    assert alphabet.decode(symbols) == text
    assert list(alphabet.symbols) == sorted(set(text))


@given(TEXTS)
def test_any_text_round_trips_through_bytes(text: str) -> None:
    alphabet = Alphabet.named("bytes")
    assert alphabet.encode(text).tolist() == list(text.encode("utf-8"))
    assert alphabet.decode(alphabet.encode(text)) == text


@given(TEXTS)
def test_an_alphabet_survives_json(text: str) -> None:
    for alphabet in (Alphabet.of_characters(text), Alphabet.named("bytes"), Alphabet.named("text8", unknown="drop")):
        assert Alphabet.from_json(alphabet.to_json()) == alphabet


@given(st.text(st.sampled_from("abc"), min_size=1), TEXTS)
def test_dropped_and_replaced_characters_are_counted(known: str, text: str) -> None:
    alphabet = Alphabet.of_characters(known, unknown="drop")
    dropped = alphabet.encode_counting(text)
    kept = "".join(character for character in text if character in set(known))
    assert alphabet.decode(dropped.symbols) == kept
    assert (dropped.dropped, dropped.replaced) == (len(text) - len(kept), 0)
    alphabet = Alphabet.of_characters(known, unknown="replace")
    replaced = alphabet.encode_counting(text)
    expected = "".join(c if c in set(known) | {REPLACEMENT} else REPLACEMENT for c in text)
    assert alphabet.decode(replaced.symbols) == expected
    assert replaced.replaced == sum(c not in set(known) | {REPLACEMENT} for c in text)


@given(
    st.text(st.sampled_from("ab\n"), max_size=30),
    st.characters(exclude_categories=["Cs"]).filter(lambda c: c not in "ab\n"),
)
def test_an_unknown_character_is_named_with_its_place(before: str, character: str) -> None:
    with pytest.raises(FfseqError) as refused:
        Alphabet.of_characters("ab\n").encode(before + character + "ab", source="story.txt")
    lines = before.split("\n")
    message = str(refused.value)
    assert message.startswith(f"story.txt, line {len(lines)}, column {len(lines[-1]) + 1}: ")
    assert f"U+{ord(character):04X}" in message
    assert unicodedata.name(character, "no name") in message


def test_the_fixed_alphabets() -> None:
    assert sorted(FIXED["aesop30"]) == sorted("abcdefghijklmnopqrstuvwxyz ,;.")
    assert len(Alphabet.named("aesop30")) == 30
    assert len(Alphabet.named("text8")) == 27
    assert len(Alphabet.named("bytes")) == 256


def test_symbols_take_no_more_room_than_they_need() -> None:
    assert Alphabet.of_characters(map(chr, range(256))).dtype == np.uint8
    assert Alphabet.of_characters(map(chr, range(257))).dtype == np.uint16


def test_a_fixed_alphabet_replaces_by_a_space_and_another_may_have_nothing_to_replace_by() -> None:
    assert (
        Alphabet.named("text8", unknown="replace").decode(Alphabet.named("text8", unknown="replace").encode("a-b"))
        == "a b"
    )
    with pytest.raises(FfseqError, match="error or drop"):
        Alphabet.of_characters("ab").with_unknown("replace")


def test_bytes_that_are_not_text_are_shown_as_such() -> None:
    assert Alphabet.named("bytes").decode([0xFF, 0x61]) == "\N{REPLACEMENT CHARACTER}a"


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"kind": "runes", "unknown": "error", "symbols": ["a"]},
        {"kind": "characters", "unknown": "error", "symbols": ["a", "a"]},
        {"kind": "characters", "unknown": "error", "symbols": ["ab"]},
        {"kind": "text8", "unknown": "error", "symbols": ["a", "b"]},
        {"kind": "characters", "unknown": "maybe", "symbols": ["a"]},
    ],
)
def test_what_is_no_alphabet_is_refused_by_the_name_of_its_file(content: object) -> None:
    with pytest.raises(FfseqError, match=r"there\.json"):
        Alphabet.from_json(content, source="there.json")


@given(TEXTS)
def test_normalised_text_has_only_the_symbols_of_its_alphabet(text: str) -> None:
    for kind in ("aesop30", "text8"):
        result = normalised(text, kind)
        assert set(result) <= set(FIXED[kind])
        assert "  " not in result
        assert normalised(result, kind) == result
