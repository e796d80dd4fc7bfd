"""Notation: there and back, as a person types it, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from nas_mnist.errors import ArchitectureError
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.networks.references import references
from tests.networks.test_architecture import architectures


@pytest.mark.parametrize("name", references())
def test_references_round_trip(name: str) -> None:
    architecture = references()[name].architecture
    assert parse_notation(format_notation(architecture)) == architecture


@given(architectures())
def test_any_architecture_round_trips(architecture: Architecture) -> None:
    assert parse_notation(format_notation(architecture)) == architecture


@pytest.mark.parametrize(
    ("name", "notation"),
    [
        (
            "s7-dropout-7914",
            "c10rnx0.01-c20rnx0.01-m2-c10rnx0.01-c20rnx0.01-m2-c12rnx0.01-g-c10k1",
        ),
        ("a7-no-dropout-7884", "c10rn-c10rn-c10rn-c10n-c10k1n-m2-c14rn-c14rn-c13n-g-c10k1n"),
        (
            "evai6-best-9964",
            "c10rny0.03-c17rny0.03-m2-c10k1r-c18rny0.03-c18rny0.03-c18p1rny0.03-g-c20k1r-c10k1",
        ),
        ("setup-6m", "c32p1br-c64p1br-m2-c128p1br-c256p1br-m2-c512br-c1024br-c10b"),
    ],
)
def test_golden_notations(name: str, notation: str) -> None:
    assert format_notation(references()[name].architecture) == notation


@pytest.mark.parametrize(
    "typed",
    ["c4rn-g-c10k1", "c4-r-n-g-c10k1", "c4rngc10k1", " c4rn-g-c10k1 ", "c4k3p0rn-g-c10k1"],
)
def test_dashes_and_defaults_are_free(typed: str) -> None:
    assert format_notation(parse_notation(typed)) == "c4rn-g-c10k1"


@pytest.mark.parametrize(
    "notation",
    [
        "c8rn-[c8p1rn-dp1-c8k1rn]-m2-g-c10k1",
        "c8rn-[c8p1r-[dp1n]s4]rn-g-c10k1",
        "c8rn-w3c8p1b-w2dk1s2-g-c10k1",
        "c8rn-w3[dp1-c8k1rn0-m2]-w2[dk1x0.1]-g-c10k1",
        "c8in-a2-[w2[c8p1n]r]-g-c10k1",
        "u-c8rn0s4-c6rn0-g-c10k1",
    ],
)
def test_composite_layers_round_trip(notation: str) -> None:
    assert format_notation(parse_notation(notation)) == notation


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("c4[c4p1", "no ']' at its end"),
        ("c4]", "no layer starts with ']' at character 3"),
        ("c4[c4p1-]-g-c10k1", "no layer starts with '-]-g-c10k1' at character 8"),
        ("c4w2r", "no layer starts with 'w2r' at character 3"),
        ("c4-w2[c4p1", "no ']' at its end"),
        ("[" * 20, "nested more than 8 deep"),
        ("", "0 layers are not within"),
        ("c4rn-q-c10k1", "no layer starts with 'q-c10k1' at character 6"),
        ("c4--g-c10k1", "no layer starts with '-g-c10k1' at character 4"),
        ("c4rn-g-c10k1-", "no layer starts with '-' at character 13"),
        ("-c4rn-g-c10k1", "no layer starts with '-c4rn-g-c10…' at character 1"),
        ("c-g", "no layer starts with 'c-g'"),
        ("c99999-g", "the number at character 2 is too large"),
        ("c4-g-c101k1", "ends in 101×1×1 values"),
        ("c4x1-g-c10k1", "layer 2 (dropout): dropout rate 1.0 is not within"),
        ("c4-m27-g-c10k1", "layer 2 (maxpool): max-pool 27 is not within"),
    ],
)
def test_refusals_name_the_place(typed: str, message: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        parse_notation(typed)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.one_of(st.text(), st.from_regex(r"[][swcdrnxymgkpb0-9.-]{0,40}", fullmatch=True)))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        architecture = parse_notation(text)
    except ArchitectureError:
        return
    assert parse_notation(format_notation(architecture)) == architecture
