"""docs/settings.md says what the code checks."""

import html
from pathlib import Path

import markdown

from amago_jax.runs.reference import page
from amago_jax.runs.schema import GIVEN, TABLES

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run: make settings"


def test_what_a_setting_is_loses_nothing_to_markup():
    page = markdown.markdown(PAGE.read_text(), extensions=["tables"])
    for text in ("runs/<environment>/<date and time>", "{_target_: my_package.Forecast", "a/*/*/*"):
        assert text in html.unescape(page).replace("runs/ablation", "a"), text


def test_every_setting_has_a_line_and_most_say_what_they_are():
    lines = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    names = {line[0].strip("| `") for line in lines}
    for table in TABLES.values():
        assert table.keys() <= names
    assert {f"{group}." for group in GIVEN} <= {name[: name.find(".") + 1] for name in names}
    silent = [line[0] for line in lines if line[-1].strip("| ") == ""]
    assert len(silent) < 0.1 * len(lines), silent
