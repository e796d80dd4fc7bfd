"""What all runs of a study together say of its networks."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from nas_mnist.execution.estimates import evidence_of
from nas_mnist.execution.records import load_study
from tests.conftest import Search


def test_choices_that_an_earlier_version_did_not_draw(
    digits_search: Search, tmp_path: Path
) -> None:
    """Their networks have them as they are by default, and those of others differ."""
    file = tmp_path / "demo.db"
    shutil.copy(digits_search.folder / "studies" / "demo.db", file)
    whole = evidence_of(load_study("demo", f"sqlite:///{file}"))
    earlier = min(whole.networks)
    assert whole.networks[earlier].point["deskew"]
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "delete from trial_params where param_name in "
            "('deskew', 'views', 'kernel', 'anti_aliased') and "
            "trial_id in (select trial_id from trials where number = ?)",
            [earlier],
        )
    mixed = evidence_of(load_study("demo", f"sqlite:///{file}"))
    assert mixed.distributions == whole.distributions
    for number, network in mixed.networks.items():
        missing = dict(deskew=False, views=False, kernel=3, anti_aliased=False)
        missing = missing if number == earlier else {}
        assert network.point == {**whole.networks[number].point, **missing}
