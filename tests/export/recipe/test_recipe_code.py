"""The Python files beside a recipe are run once, leave nothing behind, and cannot end the process."""

import sys

import pytest

from onepath.contract.errors import RecipeError
from onepath.export.recipe.code import folder_on_path, module_from_file, run_code


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise SystemExit(3)"])
def test_code_that_ends_the_process_is_an_error_of_the_recipe(way):
    with pytest.raises(RecipeError, match=r"train: raised SystemExit: 3"):
        run_code(lambda: exec(f"import sys\n{way}"), source="train.py", place="train")


def test_an_interruption_is_passed_on():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_code(interrupted, source="train.py", place="train")


def test_a_file_that_failed_is_run_again_and_not_taken_as_half_of_it(tmp_path):
    (tmp_path / "half_of_a_model.py").write_text("first = 1\n1 / 0\nsecond = 2\n")
    with folder_on_path(tmp_path):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                module_from_file(tmp_path / "half_of_a_model.py")


def test_modules_beside_the_code_are_forgotten(tmp_path):
    (tmp_path / "beside_the_recipe.py").write_text("")
    with folder_on_path(tmp_path):
        __import__("beside_the_recipe")
    assert "beside_the_recipe" not in sys.modules


def test_modules_of_an_environment_in_the_folder_stay(tmp_path, monkeypatch):
    packages = tmp_path / ".venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "package_of_the_environment.py").write_text("")
    monkeypatch.syspath_prepend(str(packages))
    with folder_on_path(tmp_path):
        module = __import__("package_of_the_environment")
    assert sys.modules.pop("package_of_the_environment") is module


def test_parts_of_a_package_that_was_imported_before_stay(tmp_path):
    package = tmp_path / "package_imported_before"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("")
    with folder_on_path(tmp_path):
        __import__("package_imported_before")
        with folder_on_path(tmp_path):
            __import__("package_imported_before.part")
        assert "package_imported_before.part" in sys.modules
    assert "package_imported_before" not in sys.modules
