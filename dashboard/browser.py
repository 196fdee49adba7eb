"""What the browser does of its own: a few lines of JavaScript and the styles of all pages."""

from __future__ import annotations

ONE_ENTRY_A_PAGE = """if (!window.oneEntryAPage) {
  window.oneEntryAPage = true;
  const push = history.pushState.bind(history);
  let before = null;
  history.pushState = (state, title, url) => {
    const now = performance.now();
    const next = new URL(url ?? location.href, location);
    if (next.pathname === location.pathname) {
      const here = new URLSearchParams(location.search);
      const isLess = [...here.keys()].some((name) => !next.searchParams.has(name));
      if (isLess) before = {url: location.href, at: now};
      history.replaceState(state, title, url);
      return;
    }
    if (before !== null && now - before.at < 5000) history.replaceState({}, '', before.url);
    before = null;
    push(state, title, url);
  };
}
"""
"""Streamlit makes an entry of the history of each change that its server makes to the address, and
takes a page's choices out of it when that page is left. With this the button Back leads to the page
before, as it was: such a change replaces the address, and what was taken out comes back where
another page follows."""

SCROLLED_BY_KEYBOARD = """
if (!window.scrolledByKeyboard) {
  window.scrolledByKeyboard = true;
  const reach = () => {
    const ground = getComputedStyle(document.querySelector('.stApp')).backgroundColor;
    document.documentElement.style.setProperty('--page-ground', ground);
    const places = '[class*="st-key-wide"], [data-testid="stTable"], [data-testid="stTable"] > div';
    for (const place of document.querySelectorAll(places)) {
      const scrolls = place.scrollWidth > place.clientWidth + 1;
      if (scrolls && place.tabIndex !== 0) {
        place.tabIndex = 0;
        place.setAttribute('role', 'group');
        place.setAttribute('aria-label', 'Wider than the screen: scrolls sideways');
      } else if (!scrolls && place.tabIndex === 0) {
        place.removeAttribute('tabindex');
        place.removeAttribute('role');
        place.removeAttribute('aria-label');
      }
    }
  };
  let asked = 0;
  const later = () => {
    asked ||= setTimeout(() => {
      asked = 0;
      reach();
    }, 300);
  };
  const watch = new MutationObserver(later);
  watch.observe(document.body, {childList: true, subtree: true});
  watch.observe(document.querySelector('.stApp'), {attributes: true, attributeFilter: ['class']});
  window.addEventListener('resize', later);
  later();
}
"""
"""What is wider than a narrow screen is reached with the Tab key and scrolled with the arrows.
What stays in place there needs the page's own ground, which follows the theme, whose change is one
of the app's class."""

STYLE = """
<style>
.block-container {padding-top: 4rem; padding-bottom: 3rem; max-width: 1480px}
.stPlotlyChart .modebar {opacity: .6}
[data-testid="stMetricValue"] {font-variant-numeric: tabular-nums}
[data-testid="stTable"] {overflow-x: auto; max-width: 100%}
[data-testid="stTable"] table {font-variant-numeric: tabular-nums}
.st-key-table-1 table, .st-key-detail-table table {width: 100%; min-width: 860px}
.stApp [data-testid="stCaptionContainer"] {color: inherit; opacity: .82}
.stApp [data-testid="stCaptionContainer"] :is(p, li, code, a) {color: inherit}
h1 {padding: .2rem 0 !important}
[class*="st-key-wide"] {overflow-x: auto}
[data-testid="stMultiSelect"] [data-tag] {background-color: #0B6FA4; color: #FFFFFF}
@media (max-width: 640px) {
  .block-container {padding-left: .9rem; padding-right: .9rem}
  .st-key-table-1 :is(th, td):nth-child(-n + 2) {position: sticky; z-index: 1; min-width: 72px;
    max-width: 72px; background: var(--page-ground); overflow-wrap: anywhere}
  .st-key-table-1 :is(th, td):nth-child(1) {left: 0}
  .st-key-table-1 :is(th, td):nth-child(2) {left: 72px}
  .st-key-detail-table :is(th, td):nth-child(1) {position: sticky; z-index: 1; left: 0;
    background: var(--page-ground)}
}
</style>
"""
