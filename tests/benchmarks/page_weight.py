"""Print what one lesson page per language weighs on the wire: requests, KB, and the largest files."""

from playwright.sync_api import Response, sync_playwright

from concepts import LANGUAGES
from serving import LESSON, serving
from test_browser import ARGUMENTS, CHROMIUM


def main() -> None:
    """Open each page in a fresh browser and add up what came."""
    with serving() as base, sync_playwright() as playwright:
        for language in LANGUAGES:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page()
            responses: list[Response] = []
            page.on("response", lambda response, kept=responses: kept.append(response))
            page.goto(f"{base}/{language}/{LESSON}", wait_until="networkidle")
            sizes = [(r.request.sizes()["responseBodySize"], r.url.removeprefix(base)) for r in responses]
            total = sum(size for size, _ in sizes)
            print(f"/{language}/{LESSON}: {len(sizes)} requests, {total / 1000:.0f} KB")
            for size, url in sorted(sizes, reverse=True)[:5]:
                print(f"  {size / 1000:6.1f} KB  {url}")
            browser.close()


if __name__ == "__main__":
    main()
