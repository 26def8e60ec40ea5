"""The package as a whole: light imports, the links, what a built wheel holds, and the README's example."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import modalign
from modalign.modalities.registry import BUILT_IN

ROOT = Path(__file__).parents[1]


def run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **env}, cwd=ROOT
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import modalign",
        "import modalign; modalign.list_modalities()",
        "import modalign.cli.app",
        "import modalign; modalign.ReadError",
    ],
)
def test_light_imports(code):
    assert run(f"{code}; import sys; print('torch' in sys.modules, 'pandas' in sys.modules)") == "False False"


def test_modalities_import_their_packages_late():
    heavy = "tsai,torchaudio,monai,wfdb,soundfile,transformers,scipy.signal"
    for name in BUILT_IN:  # not those that other tests register
        found = f"[m for m in {heavy.split(',')!r} if m in sys.modules]"
        code = f"import modalign, sys; modalign.get_modality({name!r}); print({found})"
        assert run(code) == "[]", name


def test_every_public_name_is_there():
    for name in modalign.__all__:
        assert getattr(modalign, name) is not None
    assert set(dir(modalign)) == set(modalign.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        modalign.nothing  # noqa: B018


@pytest.mark.parametrize("link", ["modalities", "align", "tasks"])
def test_links_at_the_top_level(link):
    assert (ROOT / link).is_symlink()
    assert (ROOT / link).resolve() == (ROOT / "modalign" / link).resolve()


def test_the_wheel_built_from_the_sdist_holds_every_module(tmp_path):
    copy = tmp_path / "checkout"
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(copy)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(p.relative_to(ROOT))
        for p in (ROOT / "modalign").rglob("*")
        if p.suffix in {".py", ".yaml", ".typed", ".tmpl"}
    }
    assert sources <= held, sources - held
    with tarfile.open(next((tmp_path / "dist").glob("*.tar.gz"))) as sdist:
        assert not [n for n in sdist.getnames() if re.fullmatch(r"[^/]+/(modalities|align|tasks)/.*", n)]


def test_the_readme_example_runs(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example
    code = example[1]
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_every_file_is_short_enough_to_answer_one_question():
    long = {p: n for p in (ROOT / "modalign").rglob("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_project_speaks_of_itself_alone():
    own = (f"{ROOT}/", f"{Path.home()}/", "pypi.org")  # wherever it is checked out, no file says where that is
    words = re.compile("|".join(map(re.escape, own)))
    for path in ROOT.rglob("*"):
        hidden = any(p.startswith(".") or p == "modalign-demo" for p in path.relative_to(ROOT).parts)
        if not hidden and path.suffix in {".py", ".md", ".yaml", ".toml"} and path != Path(__file__):
            assert not words.search(path.read_text()), path
