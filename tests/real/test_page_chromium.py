"""The page of a real agent in a real Chromium: on a phone and on a desk, with its pictures, boxes and figures."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from real.agent_process import start_vedette
from real.chromium import Tab, chromium
from unit.test_supervisor import eventually

from agent import imaging
from agent.demo import free_port
from agent.flow import Pixels
from agent.snapshots.annotation import colour_of

AGENT = """
agent: yard
cameras:
  - name: gate
    source: {{type: synthetic, width: 1280, height: 720, fps: 10}}
  - name: barn
    source: {{type: synthetic, width: 640, height: 480, fps: 5, seed: 4}}
engines:
  local: {{type: tflite, model: shapes, threads: 1}}
sinks:
  - {{type: jsonl, path: results.jsonl}}
page: {{port: {port}}}
"""
PICTURE = "document.querySelector('#live').naturalWidth > 100 && document.querySelector('#empty').hidden"
FIGURES = "document.querySelectorAll('#log tr').length >= 10 && document.querySelectorAll('#parts .bar').length === 1"
STILLS = "[...document.querySelectorAll('#strip img')].every(each => each.naturalWidth > 100)"
"""What must be true once all is there."""


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tab, str]]:
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    (folder / "agent.yaml").write_text(AGENT.format(port=port))
    with chromium(folder) as tab:  # first, for without one the tests are skipped
        agent = start_vedette("run", "agent.yaml", folder=folder)
        try:
            assert eventually(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), 20)
            yield tab, f"http://127.0.0.1:{port}/"
        finally:
            agent.terminate()
            agent.wait(20)


def opened(tab: Tab, url: str, *, width: int, height: int, phone: bool = False) -> Pixels:
    """All of the page once it shows everything, as a picture."""
    tab.show(url, width=width, height=height, phone=phone)
    for condition in (PICTURE, FIGURES, STILLS):
        tab.until(condition)
    return imaging.decode_image(tab.picture(whole=True))


def cut(tab: Tab, picture: Pixels, selector: str, *, scale: int) -> Pixels:
    """What an element shows, of a picture of the whole page."""
    script = "(r => [r.left + scrollX, r.top + scrollY, r.right + scrollX, r.bottom + scrollY])"
    left, top, right, bottom = tab.value(f"{script}(document.querySelector('{selector}').getBoundingClientRect())")
    return picture[round(top * scale) : round(bottom * scale), round(left * scale) : round(right * scale)]


def has_boxes(pixels: Pixels) -> bool:
    """Whether the colours of boxes are there, of two classes of the shipped model at least, in more than a few dots."""
    near = [np.abs(pixels.astype(int) - colour_of(number)).max(axis=2) < 40 for number in range(4)]
    return sum(int(found.sum()) > 150 for found in near) >= 2


def test_a_phone_shows_all_of_it_one_below_the_other(tab: tuple[Tab, str]) -> None:
    browser, url = tab
    picture = opened(browser, url, width=390, height=844, phone=True)
    assert picture.shape[1] == 2 * 390
    assert browser.value("document.documentElement.scrollWidth") == 390, "nothing sticks out at the side"
    live = cut(browser, picture, "#live", scale=2)
    assert live.shape[1] > 700
    assert has_boxes(live)
    assert not has_boxes(cut(browser, picture, "#sinks", scale=2)), "that check finds boxes where there are none"
    history = cut(browser, picture, "#history", scale=2)
    assert len(np.unique(history.reshape(-1, 3), axis=0)) > 5, "the answer times are drawn"
    assert browser.value("document.querySelector('#standing').textContent") == "ready"
    assert browser.value("document.querySelector('#link').hidden"), "there is no cloud"
    assert browser.complaints == []


def test_a_desk_shows_two_columns_and_another_camera_when_it_is_chosen(tab: tuple[Tab, str]) -> None:
    browser, url = tab
    browser.show("about:blank", width=1440, height=900)
    picture = opened(browser, url, width=1440, height=900)
    assert has_boxes(cut(browser, picture, "#live", scale=1))
    assert browser.value("document.querySelector('#cameras').getBoundingClientRect().left") > 700
    browser.value("document.querySelector('#strip button[value=barn]').click()")
    browser.until("document.querySelector('#live').naturalHeight === 480")
    browser.until("document.querySelector('#took').textContent.endsWith(' ms')")
    assert browser.value("document.querySelector('#name').textContent") == "barn"
    assert browser.complaints == []
