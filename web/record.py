"""Record a minute of the page for the README.

    python web/record.py docs/images/page.webp [--frames FOLDER]

It needs playwright, a Chromium, Pillow, and what `npm run build` has made. The frames do not lie as
far apart as they are shown: a busy machine takes longer, and shows the same.
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PAGE = (Path(__file__).resolve().parent / "dist" / "pycnn.html").as_uri()
SIZE = {"width": 900, "height": 600}
MOST_BYTES = 300_000
# What is drawn as a digit: corners of a 7, in parts of the pad.
SEVEN = [(0.2, 0.15), (0.8, 0.15), (0.5, 0.9)]


def walk(page):
    """Go through the lecture's step: a frame for some of its numbers."""
    page.wait_for_selector("#formula math")
    numbers = ["Z1.1", "Z1.2", "A1.1", "Z2.1", "A2.1", "Z3.1", "A3.1", "L", "δ3.1", "dW3.1.2"]
    for number in [*numbers, "E2.1", "δ2.1", "E1.1", "dW1.1.1", "W3.1.1", "b1.2"]:
        page.click(f"[data-id='{number}']")
        page.evaluate("scrollTo(0, 0)")
        yield 1400


def playground(page):
    """Learn two spirals."""
    page.click("#tab-playground")
    page.select_option("#data", "spiral")
    page.click("#add-layer")
    page.wait_for_timeout(1000)
    yield 1500
    page.click("#train")
    for _ in range(15):
        page.wait_for_timeout(800)
        yield 1300
    page.click("#train")
    page.wait_for_selector("#hash:text-matches('^[0-9a-f]{64}$')")
    yield 2000


def digits(page):
    """Learn to read, and read what is drawn."""
    page.click("#tab-digits")
    page.wait_for_selector("#digits-hash:text-matches('^[0-9a-f]{64}$')")
    yield 1000
    for epoch in range(1, 6):
        page.click("#digits-epoch")
        page.wait_for_selector(f"#digits-status:has-text('Epoch {epoch}:')")
        page.wait_for_timeout(300)
        yield 1000
    page.click("#erase")
    yield 700
    pad = page.locator("#pad").bounding_box()
    at = [(pad["x"] + x * pad["width"], pad["y"] + y * pad["height"]) for x, y in SEVEN]
    page.mouse.move(*at[0])
    page.mouse.down()
    for corner in at[1:]:
        page.mouse.move(*corner, steps=8)
        page.wait_for_timeout(300)
        yield 1000
    page.mouse.up()
    yield 4000


def record(browser):
    """Return the frames, and how long each is shown in ms."""
    page = browser.new_page(viewport=SIZE, locale="en", color_scheme="light")
    page.goto(PAGE)
    page.evaluate("document.documentElement.style.zoom = 0.82")  # all of a view at once
    frames, times = [], []
    for view in walk, playground, digits:
        for time in view(page):
            picture = page.screenshot(animations="disabled")
            frames.append(Image.open(io.BytesIO(picture)).convert("RGB"))
            times.append(time)
    return frames, times


def main():
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the animated WebP")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    parser.add_argument("--frames", type=Path, help="where the single frames go")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.browser, args=["--no-sandbox"]
        )
        frames, times = record(browser)
        browser.close()
    if arguments.frames:
        arguments.frames.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(frames):
            frame.save(arguments.frames / f"{i:03}.png")
    first, *rest = frames
    for quality in (40, 32, 26, 20):
        first.save(
            arguments.out, append_images=rest, save_all=True, duration=times, loop=0,
            quality=quality, method=3, minimize_size=True,
        )  # fmt: skip
        size = arguments.out.stat().st_size
        print(f"{len(frames)} frames, {sum(times) / 1000} s, quality {quality}: {size:,} bytes")
        if size <= MOST_BYTES:
            return
    raise SystemExit(f"more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
