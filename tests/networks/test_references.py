"""The published facts."""

from __future__ import annotations

from collections import Counter

from nas_mnist.networks.references import references, steps


def test_five_lifecycles_of_48_steps() -> None:
    counts = Counter(step.lifecycle for step in steps())
    assert counts == {"early-14k": 10, "s7-8k": 9, "early-20k": 10, "evai6-10k": 9, "a7-8k": 10}


def test_steps_are_numbered_in_order() -> None:
    for name in {step.lifecycle for step in steps()}:
        numbers = [step.number for step in steps() if step.lifecycle == name]
        assert numbers == list(range(1, len(numbers) + 1))


def test_published_bests() -> None:
    published = {name: known.published_accuracy for name, known in references().items()}
    assert published["a7-no-dropout-7884"] == 99.56
    assert published["s7-dropout-7914"] == 99.43
    assert published["evai6-best-9964"] == 99.41
    assert published["pool-at-rf5-13808"] == 99.5
