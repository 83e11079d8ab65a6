"""README's figures are those of the files in results/ and models/."""

import pytest
from conftest import REPOSITORY

import readme_tables
from randrop.errors import UserError


def test_the_readme_says_what_was_measured():
    assert readme_tables.main(["--check"]) == 0
    text = (REPOSITORY / "README.md").read_text()
    for name in readme_tables.TABLES:
        assert f"<!-- table {name} -->" in text


def test_a_figure_that_was_never_measured_is_found(tmp_path):
    text = (REPOSITORY / "README.md").read_text()
    at = text.index("0.", text.index("<!-- table idrid-losses -->"))
    changed = tmp_path / "README.md"
    changed.write_text(text[:at] + "9." + text[at + 2 :])
    with pytest.raises(UserError, match="are not those of results/"):
        readme_tables.main(["--check", "--readme", str(changed)])
    assert readme_tables.main(["--readme", str(changed)]) == 0
    assert changed.read_text() == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table nothing -->\n<!-- end -->", "no table 'nothing'"),
        ("<!-- table idrid-model -->\n", "lacks its <!-- end -->"),
    ],
)
def test_what_cannot_be_filled_is_named(text, said):
    with pytest.raises(UserError, match=said):
        readme_tables.filled(text, REPOSITORY)
