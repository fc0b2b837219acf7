"""Every view in a real browser, wide, narrow and dark. Screenshots: ``$RECMIND_SCREENSHOTS``, else pytest's tmp."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.slow

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
CUT_OFF = """
    const outside = (text, box) => text.left < box.left || text.right > box.right || text.top < box.top;
    return [...document.querySelectorAll("svg.chart text")]
        .filter(text => outside(text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()))
        .map(text => text.textContent);
"""
"""Words of charts that reach beyond their drawing."""
SIZES = {"wide": (1280, 900), "narrow": (390, 844), "dark": (1280, 900)}


class Browser:
    """Chromium on a page of the server."""

    def __init__(self, driver: Any, url: str, size: str, shots: Path) -> None:
        self.driver, self.url, self.size, self.shots = driver, url, size, shots
        self.shots.mkdir(parents=True, exist_ok=True)

    def go(self, path: str) -> None:
        self.driver.get(self.url + path)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def wait(self, condition: Any) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        patient = WebDriverWait(self.driver, 60, ignored_exceptions=[StaleElementReferenceException, IndexError])
        return patient.until(lambda _: condition())

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page, which must not be wider than the screen."""
        height = min(self.run("return document.documentElement.scrollHeight"), 4000)
        clip = {"x": 0, "y": 0, "width": SIZES[self.size][0], "height": height, "scale": 1}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (self.shots / f"{name}-{self.size}.png").write_bytes(base64.b64decode(taken["data"]))
        assert self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console holds: scripts that failed, what the policy stopped, requests that went elsewhere."""
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        # A request that a newer one replaced; htmx calls that an error.
        return [one for one in found if "htmx:afterRequest" not in one and "htmx:sendAbort" not in one]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests; it may reach this machine alone."""
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (browser and driver):
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    alone = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", alone):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(params=SIZES)
def browser(
    request: pytest.FixtureRequest, chromium: Any, server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    width, height = SIZES[request.param]
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": request.param == "narrow"},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if request.param == "dark" else "light"}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    shots = Path(os.environ.get("RECMIND_SCREENSHOTS") or tmp_path_factory.getbasetemp() / "screenshots")
    chromium.get_log("browser")
    found = Browser(chromium, server.url, request.param, shots)
    yield found
    assert found.complaints() == []


def titles(browser: Browser) -> list[str]:
    return [link.get_attribute("href").rpartition("id=")[2] for link in browser.all("#result .list h3 a")]


def listed(api: Any, **asked: Any) -> list[str]:
    return [line["item_id"] for line in api.post("/v1/recommend", json=asked).json()["items"]]


def set_slider(browser: Browser, name: str, value: str) -> None:
    """As a drag ends."""
    script = """
    arguments[0].value = arguments[1];
    for (const name of ["input", "change"]) arguments[0].dispatchEvent(new Event(name, {bubbles: true}));
    """
    browser.run(script, browser.one(f"#{name}"), value)


def test_a_users_list_and_its_reasons(browser: Browser, api: Any):
    browser.go("/")
    browser.shot("start")
    field = browser.one("#user")
    field.send_keys("u0")
    browser.wait(lambda: any(one.get_attribute("value") == "u03" for one in browser.all("#users option")))
    field.send_keys("3\n")
    browser.wait(lambda: titles(browser) == listed(api, user="u03"))
    assert "user=u03" in browser.driver.current_url
    assert len(browser.all("#result .why-bar")) == 10
    # Every seventh item has no text to name words of.
    place = next(place for place, item in enumerate(titles(browser)) if int(item[1:]) % 7)
    browser.all("#result .why summary")[place].click()
    browser.wait(lambda: browser.one("#result .why .words").is_displayed())
    assert browser.all("#result .why .carried li")
    browser.shot("user")
    browser.driver.back()
    browser.wait(lambda: not browser.all("#result .why-bar"))


def test_live_filters_and_diversity(browser: Browser, api: Any):
    browser.go("/?who=user&user=u05")
    set_slider(browser, "diversity", "0.8")
    browser.wait(lambda: titles(browser) == listed(api, user="u05", diversity=0.8))
    assert browser.one("output[for=diversity]").text == "0.8"
    browser.one(".filters summary").click()
    browser.one("#category option[value=w4]").click()
    filters = {"categories": ["w4"]}
    browser.wait(lambda: titles(browser) == listed(api, user="u05", diversity=0.8, filters=filters))
    browser.one("#max_price").send_keys("0.5\t")
    browser.wait(lambda: "No item fits" in browser.one("#result").text)
    browser.shot("filters")


def test_a_history_is_put_together(browser: Browser, api: Any):
    browser.go("/")
    browser.one("input[value=history]").find_element("xpath", "..").click()
    browser.wait(lambda: browser.one("#find").is_displayed())
    assert not browser.one("#user").is_displayed()
    for item in ("i11", "i04"):
        find = browser.one("#find")
        find.clear()
        find.send_keys(item)
        browser.wait(lambda item=item: f"add={item}" in browser.all("#found button")[0].get_attribute("hx-get"))
        browser.all("#found button")[0].click()
        browser.wait(lambda item=item: browser.all(f"#chosen input[value={item}]"))
    browser.wait(lambda: titles(browser) == listed(api, history=["i11", "i04"]))
    browser.shot("history")
    browser.one("#chosen button").click()
    browser.wait(lambda: titles(browser) == listed(api, history=["i04"]))


def test_a_wish_in_words(browser: Browser, api: Any):
    browser.go("/")
    browser.one("input[value=wish]").find_element("xpath", "..").click()
    browser.one("#text").send_keys("w3 w4")
    browser.one("#ask button.main").click()
    browser.wait(lambda: titles(browser) == listed(api, text="w3 w4"))
    browser.shot("wish")
    if browser.size == "narrow":
        browser.wait(lambda: browser.run("return document.getElementById('result').getBoundingClientRect().top") < 200)


def test_a_new_item(browser: Browser):
    browser.go("/new")
    browser.one("#title").send_keys("w1 w2 w3")
    browser.one("#price").send_keys("5")
    browser.one("button.main").click()
    browser.wait(lambda: len(browser.all("#result .people li")) == 8)
    browser.shot("new")
    browser.one("#result .people a").click()
    browser.wait(lambda: browser.all("#result .why-bar"))


@pytest.mark.parametrize("path", ["/model", "/item?id=i03", "/api", "/problems", "/login"])
def test_other_views(browser: Browser, path: str):
    browser.go(path)
    browser.shot(path.strip("/").partition("?")[0])
    assert browser.one("h1").is_displayed()
    for chart in browser.all("svg.chart"):
        assert chart.size["height"] > 80
    assert browser.run(CUT_OFF) == []
    for summary in browser.all("main summary"):
        summary.click()
    assert all(table.is_displayed() for table in browser.all("main table"))


def test_what_goes_wrong_is_said(browser: Browser):
    browser.go("/?who=user&user=u03")
    field = browser.one("#user")
    field.clear()
    field.send_keys("nobody\n")
    browser.wait(lambda: "no such user" in browser.one("#result [role=alert]").text)
    browser.shot("problem")
    assert [one for one in browser.complaints() if "404" not in one] == []


def test_by_keyboard_alone(browser: Browser, api: Any):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        ActionChains(browser.driver).send_keys(*keys).perform()

    browser.go("/")
    press(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    for _ in range(20):
        if browser.driver.switch_to.active_element.get_attribute("name") == "who":
            break
        press(Keys.TAB)
    press(Keys.TAB)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "user"
    press("u07", Keys.ENTER)
    browser.wait(lambda: titles(browser) == listed(api, user="u07"))
    for _ in range(60):
        if (
            browser.driver.switch_to.active_element.tag_name == "summary"
            and "Why" in browser.driver.switch_to.active_element.text
        ):
            break
        press(Keys.TAB)
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    press(Keys.ENTER)
    browser.wait(lambda: browser.all("#result details[open] .carried"))


def test_everything_has_a_name(browser: Browser):
    """What a screen reader would say of every control and picture."""
    for path in ("/?who=user&user=u03", "/new", "/model"):
        browser.go(path)
        nodes = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        controls = {
            "button",
            "link",
            "textbox",
            "searchbox",
            "slider",
            "checkbox",
            "radio",
            "combobox",
            "spinbutton",
            "image",
        }
        nameless = [
            node["role"]["value"]
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in controls and not node.get("name", {}).get("value")
        ]
        assert nameless == []


def test_text_stands_out_from_its_ground(browser: Browser):
    """WCAG AA: 4.5 to 1 for every text that is shown, against the nearest ground that is painted."""
    for path in ("/?who=user&user=u03", "/new", "/model", "/api", "/?who=user&user=nobody"):
        browser.go(path)
        assert browser.run(CONTRAST) == []
    browser.complaints()
