"""The guide as its reader finds it: built once, its examples' numbers, its links, and its pages in a browser."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from scipy.special import ndtr

import numact as na

ROOT = Path(__file__).parent.parent
EXAMPLES = ["neuron", "decision_regions", "vanishing_gradients", "dead_units", "temperature"]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """A copy of the guide's sources, built by the command that its reader runs; warnings are errors."""
    folder = tmp_path_factory.mktemp("guide")
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("generated", "activations"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "build/site"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def site(docs):
    """The folder of the built pages."""
    return docs / "build" / "site"


def printed(docs, name):
    """Return what an example printed, each line's numbers by its first word."""
    lines = (docs / "docs" / "generated" / f"{name}.txt").read_text().splitlines()
    words = [line.split() for line in lines]
    return {first: [float(word) for word in rest] for first, *rest in words if re.fullmatch(r"[\d.e+-]+", rest[-1])}


class Page(HTMLParser):
    """What a page refers to, and the names that others may refer to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.add(found.get("id"))
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


def test_examples_print_what_the_guide_says_of_them(docs):
    text = (docs / "docs" / "generated" / "neuron.txt").read_text()
    assert "= 1.25\n" in text
    assert f"a = {1.25 * ndtr(1.25):.4f}" in text

    right = printed(docs, "decision_regions")
    assert right["identity"][0] < 0.7
    assert min(right["relu"][0], right["gelu"][0]) > 0.9

    layers = printed(docs, "vanishing_gradients")
    assert layers["sigmoid"][2] < 1e-6
    assert layers["sigmoid"][3] < 0.2
    for name in ("tanh", "relu", "gelu"):
        assert 0.1 < layers[name][2] < 10
        assert layers[name][3] > 0.8

    units = printed(docs, "dead_units")
    assert units["relu"][1] > units["relu"][0]
    assert units["leaky_tenth"][1] < 0.4 < units["leaky_relu"][1]
    assert units["leaky_tenth"][2] > units["leaky_relu"][2] > units["relu"][2]

    scales = printed(docs, "temperature")
    assert scales["1"][0] < 1e-6 < 0.01 < scales["0.1"][0]
    assert scales["1"][1] == pytest.approx(0.5, abs=0.01)  # level with the right class
    assert scales["1"][3] < min(scales["0.1"][3], scales["4"][3])


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_draw(docs, name):
    from matplotlib.image import imread

    assert imread(docs / "docs" / "generated" / f"{name}.png").std() > 0.05


def test_every_activation_has_a_page(site):
    comparison = (site / "comparison.html").read_text()
    for name, function in na.registry.items():
        text = (site / "activations" / f"{name}.html").read_text()
        for words in ("<math", "What it does", "Advantages", "Disadvantages", "Special values", "&gt;&gt;&gt; "):
            assert words in text
        assert f"{name}.svg" in text
        assert function.info.paper.split(",")[0] in text
        assert f'href="activations/{name}.html"' in comparison


def test_no_link_is_broken(site):
    pages = {file.relative_to(site).as_posix(): Page(file.read_text()) for file in site.rglob("*.html")}
    assert len(pages) > len(na.registry) + 8
    for name, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"site:///{name}", link))
            if target.scheme != "site":
                continue
            path = unquote(target.path).lstrip("/")
            assert (site / path).is_file(), f"{name} refers to {link}"
            if path in pages:
                assert unquote(target.fragment) in pages[path].names, f"{name} refers to {link}"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each on stderr."""

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(site):
    """Where the built pages are served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def browser():
    """A headless Chromium of a phone's size."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_argument("--headless=new")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # as root it has none
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    yield driver
    driver.quit()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not both installed")
def test_pages_in_a_browser(site, address, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    for file in sorted(site.rglob("*.html")):
        browser.get(f"{address}/{file.relative_to(site)}")
        missing = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
        assert browser.execute_script(missing) == [], file
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{file} is {width} wide"
    browser.get(f"{address}/search.html?q=gelu")
    found = "#search-results ul.search a[href*='activations/gelu.html']"
    WebDriverWait(browser, 60).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, found))
    assert browser.get_log("browser") == []
