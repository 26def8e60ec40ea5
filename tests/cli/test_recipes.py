"""`modalign recipes`: the list, and the YAML of one with its comments."""

from pathlib import Path

from modalign.align.recipe_files import list_recipes, recipe_text
from tests.cli.test_cli import invoke


def test_the_list_says_what_each_is() -> None:
    code, said = invoke("recipes")
    assert code == 0
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == list_recipes()
    assert any(
        line.split() == ["ecg", "text,", "ecg", "12-lead", "ECGs", "aligned", "with", "sentences"] for line in lines
    )


def test_one_is_shown_with_its_comments(tmp_path: Path) -> None:
    code, said = invoke("recipes", "show", "unimts")
    assert code == 0
    assert said == recipe_text("unimts")
    assert said.startswith("# ")
    code, said = invoke("recipes", "show", "unimtz")
    assert code == 2
    assert "did you mean 'unimts'" in said
