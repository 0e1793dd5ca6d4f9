"""The history of figures: commits measured and published by airspeed velocity, and the site opened in a browser."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("asv", reason="asv is not installed: pip install -e '.[bench]'")

ROOT = Path(__file__).parents[1]
BROWSER = shutil.which("chromium")
SCRIPTS = Path("/usr/share/javascript")  # what the site else loads from the network
# What asv's page takes from elsewhere, and Debian's files of it.
LOCAL = {
    "jquery-3.3.1.min.js": "jquery/jquery.min.js",
    "jquery.flot.min.js": "jquery-flot/jquery.flot.min.js",
    "jquery.flot.time.min.js": "jquery-flot/jquery.flot.time.min.js",
    "jquery.flot.selection.min.js": "jquery-flot/jquery.flot.selection.min.js",
    "jquery.flot.categories.min.js": "jquery-flot/jquery.flot.categories.min.js",
    "jquery.flot.orderBars.js": None,
    "stupidtable.min.js": "jquery-stupidtable/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/md5.min.js",
    "bootstrap.min.js": "bootstrap/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/css/bootstrap.min.css",
}
PACKAGES = "chromium libjs-jquery-flot libjs-bootstrap libjs-jquery-stupidtable node-blueimp-md5"

if not BROWSER or not all((SCRIPTS / file).is_file() for file in LOCAL.values() if file):
    pytest.skip(f"the site needs a browser and scripts, of Debian's packages {PACKAGES}", allow_module_level=True)


def make_commits(clone, git):
    """Yield commits, a day apart: one without hardmax, two with it, two that import more modules."""
    file = clone / "numact" / "__init__.py"
    text = file.read_text()
    lacking = re.sub(r"(_ROWWISE = .*), hardmax$", r"\1", text, flags=re.MULTILINE)
    assert lacking != text
    larger = text + "import colorsys, wave, xmlrpc.client\n"
    for day, state in enumerate((lacking, text, text, larger, larger), start=1):
        file.write_text(state)
        date = f"2098-01-0{day}T00:00:00Z"
        git("commit", "--quiet", "--allow-empty", "--all", "--message", "Change", GIT_COMMITTER_DATE=date)
        yield git("rev-parse", "HEAD").strip()
    file.write_text(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the published history."""
    folder = tmp_path_factory.mktemp("history")
    clone, package = folder / "clone", folder / "package"

    def run(*command, cwd=clone, **others):
        names = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "EMAIL"), "nobody")
        environment = os.environ | names | {"HOME": str(folder), "NUMACT_ACTIVATIONS": "relu hardmax"} | others
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    git, asv = partial(run, "git"), partial(run, sys.executable, "-m", "asv", cwd=clone / "asv_benchmarks")
    run("git", "clone", "--quiet", str(ROOT), str(clone), cwd=folder)
    git("worktree", "add", "--detach", str(package))
    commits = list(make_commits(clone, git))
    asv("machine", "--yes")
    for commit in commits:
        git("-C", str(package), "checkout", "--quiet", commit)
        chosen = ("--bench", "Package|Errors", "--launch-method", "forkserver", "--set-commit-hash", commit)
        said = asv("run", "--python=same", "--quick", "--show-stderr", *chosen, ASV_PYTHONPATH=str(package))
        assert ("no figure hardmax value ULP" in said) == (commit == commits[0])
    asv("publish")
    html = clone / "asv_benchmarks" / ".asv" / "html"
    use_local_scripts(html)
    return (html / "index.html").as_uri()


def use_local_scripts(html):
    """Copy what the page loads from the network beside it, and let it load that."""
    page = html / "index.html"
    text = page.read_text()
    for name, file in LOCAL.items():
        text, count = re.subn(rf'(src|href)="https://[^"]*/{re.escape(name)}" integrity="[^"]*"', rf'\1="{name}"', text)
        assert count == 1, name
        (html / name).write_text((SCRIPTS / file).read_text() if file else "")
    page.write_text(text)


def rendered(address):
    """Return a page's document after its scripts have run."""
    flags = ("--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=20000")
    command = [BROWSER, "--headless", *flags, "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_graphs_are_drawn(site):
    page = rendered(f"{site}#exact_figures.Package.track_figure")
    assert re.search(r'<canvas[^>]*class="flot-base"', page)
    assert "modules imported" in page


def test_regressions_are_listed(site):
    page = rendered(f"{site}#/regressions")
    rows = [re.sub("<[^>]*>", " ", row) for row in re.findall(r'<tr id="asv-r-.*?</tr>', page)]
    assert [row for row in rows if "Package.track_figure('package', 'modules imported')" in row]
