"""The page of the dashboard in a real browser, with snapshots that are made up.

`test_dashboard_live.py` looks at a program that runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import snapshots
from playwright.sync_api import Page, expect
from viewer import PHONE, Served, Viewer

View = Callable[..., Viewer]

EVERY = list(snapshots.ALL)
STATES = {
    "flowing": snapshots.healthy,
    "waiting": snapshots.hung,
    "failing": snapshots.failing,
    "working": snapshots.two_pipes,
    "idle": snapshots.idle,
}

# The contrast of each text that is seen with the ground that it stands on, by WCAG's formula.
CONTRASTS = """
() => {
  const style = node => getComputedStyle(node);
  const parse = value => {
    const [r, g, b, a = 1] = value.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under) =>
    [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = node => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(style(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const linear = value => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest(".skip, .unseen, noscript")) continue;
    const back = ground(node);
    const both = [light(over(parse(style(node).color), back)), light(back)];
    found.push([(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), text]);
  }
  return found;
}
"""
# What looks different without its colour, of a mark.
MARKS = """
all => all.map(it => {
  const { clipPath, borderRadius, backgroundColor } = getComputedStyle(it);
  return [clipPath, borderRadius, backgroundColor === "rgba(0, 0, 0, 0)"].join();
})
"""
MOVING = """
[...document.querySelectorAll("*")].filter(it => {
  const { transitionDuration, animationName } = getComputedStyle(it);
  return transitionDuration !== "0s" || animationName !== "none";
}).length
"""
# What stands where nothing is known, and between two words of a title.
DASH = "\u2013"


def words(page: Page, selector: str) -> str:
    """The text of an element, with plain spaces."""
    return " ".join(page.locator(selector).inner_text().split())


def bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"] + box["height"]


def overflow(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return width


# --- the first screen -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_first_screen_has_verdict_flow_waiting_and_workers(
    name: str, served: Served, view: View
) -> None:
    served.snapshot = snapshots.ALL[name]()
    page = view(served.url).look()
    bottoms = [
        bottom(page, f"#{section}") for section in ("verdict", "flow", "waiting", "workers")
    ]
    assert bottoms[:3] == sorted(bottoms[:3]), "in this order"
    assert max(bottoms) <= 720
    assert overflow(page) <= 0
    # A phone shows as much, one below the other, and nothing aside.
    page.set_viewport_size(PHONE)
    assert overflow(page) <= 0
    assert bottom(page, "#verdict") <= 400


def test_a_phone_has_graphs_closed_and_from_top_to_bottom(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    page = view(served.url, viewport=PHONE).look()
    page.locator("details.pipe > summary").click()
    tops = [
        it["y"]
        for it in (one.bounding_box() for one in page.locator(".stage").all())
        if it is not None
    ]
    assert len(tops) == 4
    assert tops == sorted(set(tops))
    expect(page.locator(".stage", has_text="clean").get_by_text("to broken")).to_be_visible()
    assert overflow(page) <= 0


def test_a_verdict_has_a_shape_a_word_and_a_colour_of_its_own(served: Served, view: View) -> None:
    shapes, colours = set(), set()
    viewer = view(served.url)
    for state, make in STATES.items():
        served.snapshot = make()
        page = viewer.look()
        expect(page.locator("#verdict")).to_have_attribute("data-state", state)
        if state != "idle":
            assert words(page, "#word").lower() == state
        look = page.evaluate(
            "[shape.getAttribute('d') + mark.getAttribute('d'), getComputedStyle(word).color]"
        )
        shapes.add(look[0])
        colours.add(look[1])
        assert page.title() == f"{words(page, '#word')} {DASH} scoring"
    assert len(shapes) == len(STATES)
    # Both flowing and working are well.
    assert len(colours) == len(STATES) - 1


def test_the_four_questions_are_answered_by_four_figures(served: Served, view: View) -> None:
    served.snapshot = snapshots.failing()
    page = view(served.url).look()
    assert words(page, ".figures") == (
        "workers busy 6 of 8 oldest waits 80 ms items a second 12.2 k failed 3.1 %"
    )
    assert words(page, "h1") == "Failing 3.1 % of stage score, ValueError, last 4 s ago"
    assert words(page, "#evidence") == "worker gpu 2 died twice in 5 min"


def test_findings_beyond_two_are_a_button_away(served: Served, view: View) -> None:
    served.snapshot = snapshots.hung()
    page = view(served.url).look()
    expect(page.locator("#evidence li")).to_have_count(2)
    page.get_by_role("button", name="and 1 more").click()
    expect(page.locator("#evidence li")).to_have_count(3)


# --- the sections -----------------------------------------------------------------------------


def test_a_pipe_is_its_graph(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    page = view(served.url).look()
    graph = page.get_by_role("list", name="Graph of words")
    order = graph.locator("li:not([aria-hidden])").evaluate_all(
        "all => all.map(it => (it.querySelector('strong') ?? it.querySelector('span')).innerText)"
    )
    assert [it.replace("\xa0", " ") for it in order] == [
        *("in", "12.4 k/s", "split", "12.4 k/s", "clean", "12.4 k/s", "score"),
        *("12.3 k/s", "route", "8.4 k/s", "default", "long", "broken"),
    ]
    narrow = graph.locator(".stage[data-narrowest]")
    expect(narrow).to_have_count(1)
    expect(narrow).to_contain_text("score")
    expect(narrow.locator(".tag")).to_have_text("narrowest: handler 81\xa0%")
    expect(narrow).to_contain_text("6 run, 7 wait")
    expect(narrow).to_contain_text("6 of 8")
    expect(narrow).to_contain_text("p50 12.4\xa0ms, p95 41\xa0ms")
    # For who hears it: where a stage's side exits lead.
    expect(graph.locator(".stage", has_text="clean").locator(".exits")).to_have_text(
        "to broken 24.8/s"
    )
    assert graph.locator(".edge .spark .line").first.get_attribute("d")


def test_bars_are_as_long_as_what_is_inside_against_the_bound(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    page = view(served.url, reduced_motion="reduce").look()
    shares = (
        page.locator(".stage", has_text="clean")
        .locator(".bar")
        .evaluate("it => [...it.children].map(one => one.offsetWidth / it.offsetWidth)")
    )
    assert shares[0] == pytest.approx(3 / 8, abs=0.02)
    assert shares[1] == 0
    # Behind it what waits, which has no bound.
    assert shares[2] == pytest.approx(1 / 8, abs=0.02)
    assert shares[3] == 0


def test_a_jump_and_outputs_of_many_stages_have_a_lane_each(served: Served, view: View) -> None:
    served.snapshot = snapshots.two_pipes()
    page = view(served.url).look()
    graph = page.get_by_role("list", name="Graph of orders")
    expect(graph.locator(".lane")).to_have_count(3)
    expect(graph.locator(".lane[data-jump]")).to_have_count(1)
    boxes = {
        it: page.locator(f".graph .{it}").first.bounding_box()
        for it in ("stage", "lane[data-jump]")
    }
    stage, jump = boxes["stage"], boxes["lane[data-jump]"]
    ship = graph.locator(".stage").last.bounding_box()
    assert stage is not None
    assert jump is not None
    assert ship is not None
    # From the middle of the stage to the middle of the one that it jumps to.
    assert jump["x"] == pytest.approx(stage["x"] + stage["width"] / 2, abs=2)
    assert jump["x"] + jump["width"] == pytest.approx(ship["x"] + ship["width"] / 2, abs=2)


def test_many_pipes_are_a_line_each_with_trouble_first(served: Served, view: View) -> None:
    served.snapshot = snapshots.many_pipes()
    page = view(served.url).look()
    names = page.locator(".pipe-name")
    expect(names).to_have_count(5)
    assert names.all_inner_texts()[:3] == ["feed_17", "feed_05", "feed_00"]
    expect(page.locator(".pipe").first).to_contain_text("41 failed")
    expect(page.locator(".pipe").nth(1)).to_contain_text("3 pushes wait for room")
    page.get_by_role("button", name="Show 29 more").click()
    expect(names).to_have_count(24)
    expect(page.locator(".call")).to_have_count(12)
    page.get_by_role("button", name="Show fewer").click()
    expect(names).to_have_count(5)


def test_where_the_time_goes_is_a_table_for_each_pipe(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    page = view(served.url).look()
    page.get_by_text("Where the time goes").click()
    row = page.get_by_role("row", name="clean")
    # Of a stage without a limit of rate, the first of its phases has no share.
    assert (
        " ".join(row.inner_text().split())
        == "clean 12.4 ms 41 ms \u2013 0 % 0 % 30 % 0 % 60 % 0 %"
    )


def test_pools_stand_by_how_long_the_oldest_waits(served: Served, view: View) -> None:
    served.snapshot = snapshots.hung()
    page = view(served.url).look()
    rows = [" ".join(it.split()) for it in page.locator("#pools tbody").all_inner_texts()]
    assert rows == [
        "gpu 42 s 37 of 40 4 of 4 no free worker for 42 s",
        "default none 0 of 1,000 0 of 2",
    ]


def test_a_pool_that_cannot_start_stands_first_and_says_why(served: Served, view: View) -> None:
    served.snapshot = snapshots.cannot_start()
    served.snapshot["pools"].append(snapshots.pool("busy", [], oldest_wait=90_000))
    page = view(served.url).look()
    expect(page.locator("#pools tbody").first).to_contain_text(
        "cannot start: preload of handlers failed: ModuleNotFoundError: No module named 'torch'"
    )


def test_a_pool_that_starts_is_no_alarm(served: Served, view: View) -> None:
    begun = [snapshots.worker(0, status="starting"), snapshots.worker(1, status="starting")]
    served.snapshot = {**snapshots.idle(), "pools": [snapshots.pool("new", begun)]}
    note = view(served.url).look().locator("#pools .note")
    expect(note).to_have_text("its workers start")
    assert note.get_attribute("data-tone") is None
    served.snapshot["pools"][0]["workers"] = []
    expect(note).to_have_text("no worker is ready")
    expect(note).to_have_attribute("data-tone", "warn")


def test_workers_that_wait_for_a_place_or_leave_theirs_are_no_alarm(
    served: Served, view: View
) -> None:
    statuses = ["ready", "spare", "draining", "stopping"]
    workers = [snapshots.worker(at, status=status) for at, status in enumerate(statuses)]
    served.snapshot = {**snapshots.idle(), "pools": [snapshots.pool("gpu", workers)]}
    page = view(served.url).look()
    expect(page.locator("#workers-words .sum")).to_have_text(["1 free", "1 spare", "2 leaving"])
    expect(page.locator(".card[data-tone]")).to_have_count(0)


def test_a_worker_s_card_has_what_it_runs_against_its_deadline(
    served: Served, view: View
) -> None:
    served.snapshot = snapshots.hung()
    page = view(served.url).look()
    cards = [" ".join(it.split()) for it in page.locator(".card").all_inner_texts()]
    assert cards[0] == "gpu 1 Stack handlers.predict 41 s of 60 s 304 MiB asking model-7"
    assert cards[1] == "gpu 2 Stack handlers.predict 41 s of 60 s, 3 behind 313 MiB"
    assert cards[3] == "gpu 4 Stack handlers.predict 62 s, 2 s over its deadline 330 MiB"
    assert cards[4] == "default 1 Stack free 18,212 calls served 304 MiB"
    assert words(page, "#workers-words") == (
        "1 over its deadline 1 close to its deadline 2 busy 2 free"
    )
    # Told apart by shape, not by colour alone.
    marks = page.locator(".card .sign").evaluate_all(MARKS)
    assert len({marks[0], marks[3], marks[4]}) == 3


def test_two_hundred_workers_are_a_square_each_and_the_longest_a_card(
    served: Served, view: View
) -> None:
    served.snapshot = snapshots.many_workers()
    page = view(served.url).look()
    expect(page.locator("#crowds .square")).to_have_count(200)
    titles = page.locator(".card strong").all_inner_texts()
    assert titles == ["gpu 17", "gpu 90", "gpu 59", "gpu 58"]
    late = page.locator("#crowds .square[data-what=over]")
    expect(late).to_have_accessible_name(
        "gpu 17: over its deadline, score.predict, 61\xa0s, 1\xa0s over its deadline"
    )
    # One stop for the tabulator in each pool; the arrows go on.
    expect(page.locator("#crowds [tabindex='0']")).to_have_count(2)
    page.locator("#crowds .square").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert name.startswith("gpu 2:")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("gpu 2: busy")


def test_the_stack_of_a_worker_is_a_button_away(served: Served, view: View) -> None:
    served.snapshot = snapshots.hung()
    served.stack = {"worker": 4, "call": "handlers.predict", "stack": snapshots.TRACEBACK}
    viewer = view(served.url)
    page = viewer.look()
    button = page.get_by_role("button", name="Stack of gpu 4")
    button.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#stack")).to_have_text(snapshots.TRACEBACK)
    expect(dialog.locator("#stack-words")).to_contain_text("innermost first")
    assert served.stacks == [{"pool": ["gpu"], "worker": ["4"]}]
    facts = " ".join(dialog.locator("dl").inner_text().split())
    assert "runs handlers.predict for 62 s, 2 s over its deadline stage words / score" in facts
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    # One that has ended meanwhile.
    served.stack = None
    page.get_by_role("button", name="Stack of gpu 3").click()
    expect(dialog.locator("#stack-words")).to_have_text("pool gpu has no worker 4 now")
    expect(dialog).to_contain_text("model-7: timed out")
    assert [it.split(":")[0] for it in viewer.wrong] == ["Failed to load resource"]
    viewer.wrong.clear()


def test_a_worker_that_ends_while_it_is_looked_at_is_told(served: Served, view: View) -> None:
    served.snapshot = snapshots.hung()
    served.stack = {"worker": 1, "call": None, "stack": ""}
    viewer = view(served.url)
    page = viewer.look()
    page.get_by_role("button", name="Stack of gpu 1").click()
    expect(page.locator("#stack-words")).to_contain_text("no code of yours ran")
    served.snapshot["pools"][0]["workers"].pop(0)
    viewer.again()
    expect(page.locator("#worker-title")).to_have_text("gpu 1, which is gone")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_what_fails_is_told_with_its_traceback_and_how_to_run_it_again(
    served: Served, view: View
) -> None:
    served.snapshot = snapshots.failing()
    page = view(served.url).look()
    expect(page.locator("#failing-count")).to_have_text("3")
    group = page.locator(".group").first
    assert " ".join(group.locator("header").inner_text().split()) == (
        "ValueError stage score of words, handler error "
        "3,120 times, 3.1 % of its items, last 4 s ago, first 10 min ago"
    )
    expect(group.locator("pre")).to_have_text(snapshots.TRACEBACK)
    expect(group.locator("code")).to_contain_text("slither replay /var/lib")
    died = page.locator(".group").nth(1)
    expect(died).to_contain_text("worker exit")
    expect(died.locator("details")).to_be_hidden()
    expect(died.get_by_role("button")).to_be_hidden()


def test_the_command_is_copied_or_marked(served: Served, view: View) -> None:
    served.snapshot = snapshots.failing()
    for given, said in (["clipboard-read", "clipboard-write"], "Copied"), ([], "Marked"):
        page = view(served.url, permissions=given).look()
        if not given:
            page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.get_by_role("button", name="Copy the command").first.click()
        expect(page.locator(".group .replay button").first).to_have_text(said)
        where = "navigator.clipboard.readText()" if given else "getSelection().toString()"
        assert page.evaluate(where).startswith("slither replay ")


def test_state_and_events_are_listed(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    page = view(served.url, timezone_id="UTC").look()
    assert words(page, "#stores tr >> nth=0") == "Features, on disk users 1,204,311 296 MiB"
    assert words(page, "#sessions tr") == "user-7 default 3 idle"
    assert words(page, "#checkpoints tr") == "/var/lib/scoring/nightly.ckpt words 81,020 items"
    assert words(page, "#state-words") == "1 store, 1 session, 210/s written"
    assert words(page, "#happenings li >> nth=0") == (
        "02:39:35 recycle worker gpu 2 replaced after 10,000 calls"
    )
    expect(page.locator("#clock")).to_have_text("02:41:07")


@pytest.mark.parametrize("snapshot", [{}, snapshots.bare()])
def test_a_program_that_has_only_begun_is_told_as_such(
    snapshot: dict[str, Any], served: Served, view: View
) -> None:
    served.snapshot = snapshot
    page = view(served.url).look()
    for section in ("flow", "waiting", "workers", "failing", "state", "events"):
        expect(page.locator(f"#{section} .none")).to_be_visible()


# --- live ---------------------------------------------------------------------------------------


def test_a_new_snapshot_keeps_focus_selection_and_what_is_open(
    served: Served, view: View
) -> None:
    served.snapshot = snapshots.failing()
    viewer = view(served.url)
    page = viewer.look()
    page.locator(".group").nth(2).locator("summary").click()
    page.locator(".group").first.locator("summary").click()
    page.locator("details.pipe > summary").click()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.message'))")
    button = page.get_by_role("button", name="Stack of gpu 2")
    button.focus()
    page.evaluate("window.card = document.activeElement.closest('.card')")

    served.snapshot = snapshots.failing()
    served.snapshot["verdict"]["text"] = "Failing: more of it"
    # It moves to the front, as its pool alarms.
    served.snapshot["pools"][0]["workers"][0]["runs"] |= {"deadline": -1}
    viewer.again()
    expect(page.locator("#rest")).to_have_text("more of it")
    assert page.locator(".card strong").first.inner_text() == "gpu 1"
    expect(button).to_be_focused()
    assert page.evaluate("window.card === document.activeElement.closest('.card')")
    assert page.evaluate("getSelection().toString()") == "not a number: 'n/a'"
    opened = page.locator(".group details").evaluate_all("all => all.map(it => it.open)")
    assert (opened[0], opened[2]) == (False, True)
    assert not page.locator("details.pipe").evaluate("it => it.open")


def test_the_page_asks_only_while_somebody_looks(served: Served, view: View) -> None:
    served.snapshot = snapshots.idle()
    viewer = view(served.url)
    page = viewer.page
    page.clock.install()
    viewer.look()

    def asked_later() -> int:
        before = served.asked.count("/snapshot")
        for _ in range(10):
            page.clock.run_for(1_000)
            page.evaluate("fetch('snapshot?no')")
        return served.asked.count("/snapshot") - before - 10

    assert asked_later() >= 5
    # One may have been under way.
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    assert asked_later() <= 1
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    viewer.again()
    assert asked_later() >= 5
    page.get_by_role("button", name="Pause").click()
    assert asked_later() <= 1
    page.get_by_role("button", name="Go on").click()
    assert asked_later() >= 5


def test_a_lost_connection_is_told_and_mends_itself(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    viewer = view(served.url, timezone_id="UTC")
    page = viewer.look()
    page.route("**/snapshot", lambda route: route.abort())
    viewer.again()
    expect(page.locator("#verdict")).to_have_attribute("data-state", "lost")
    expect(page.locator("h1")).to_contain_text("the program has not answered for")
    expect(page.locator("h1")).to_contain_text("What you see is from 02:41:07.")
    # What was seen stays.
    expect(page.locator(".card")).to_have_count(8)
    page.unroute("**/snapshot")
    viewer.again()
    expect(page.locator("#verdict")).to_have_attribute("data-state", "flowing")
    viewer.wrong.remove("Failed to load resource: net::ERR_FAILED")


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "open the address with its token again"), (503, "has said status 503 for")],
)
def test_a_refusal_is_told(status: int, said: str, served: Served, view: View) -> None:
    served.status = status
    viewer = view(served.url)
    expect(viewer.look().locator("h1")).to_contain_text(said)
    viewer.wrong.clear()


def test_what_cannot_be_shown_is_told(served: Served, view: View) -> None:
    served.snapshot = {**snapshots.idle(), "pools": 3}
    expect(view(served.url).look().locator("h1")).to_contain_text("cannot read the snapshot")


# --- for all, and against some ------------------------------------------------------------------


def test_the_verdict_is_read_out_when_it_turns_and_not_each_second(
    served: Served, view: View
) -> None:
    served.snapshot = snapshots.hung()
    viewer = view(served.url)
    page = viewer.look()
    told = page.locator("[aria-live=polite]")
    first = served.snapshot["verdict"]["text"]
    expect(told).to_have_text(first)
    expect(told).to_have_attribute("role", "status")
    served.snapshot["verdict"]["text"] = "Waiting: pool gpu has had no free worker for 43 s"
    viewer.again()
    expect(page.locator("#rest")).to_contain_text("for 43 s")
    expect(told).to_have_text(first)
    served.snapshot = snapshots.healthy()
    viewer.again()
    expect(told).to_have_text("Flowing: 12.4 k items/s, oldest waits 80 ms")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["hung", "failing", "cannot_start", "many_workers", "many_pipes"]
)
def test_text_has_contrast(name: str, scheme: str, served: Served, view: View) -> None:
    served.snapshot = snapshots.ALL[name]()
    page = view(served.url, color_scheme=scheme).look()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 50
    assert [it for it in found if it[0] < 4.5] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = max(int(it) for it in re.findall(r"\d+", ground)) < 128
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("name", ["failing", "many_workers", "many_pipes"])
def test_whatever_can_be_pressed_has_a_name_and_a_place_in_the_order(
    name: str, served: Served, view: View
) -> None:
    served.snapshot = snapshots.ALL[name]()
    page = view(served.url).look()
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "(it => it === document.body ? null : [it.tagName, it.id,"
            " (it.ariaLabel ?? it.innerText).trim(), getComputedStyle(it).outlineStyle])"
            "(document.activeElement)"
        )
        if at is None:
            break
        reached.append(at)
    assert reached[0][2] == "Skip to the verdict"
    assert all(it[2] for it in reached), "names"
    assert all(it[3] != "none" for it in reached), "a ring around what has the focus"
    texts = " ".join(it[2] for it in reached)
    assert "Pause" in texts
    assert "Stack of" in texts
    for role in ("banner", "main", "navigation"):
        expect(page.get_by_role(role)).to_have_count(1)
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert [it.split()[0] for it in headings] == [
        *("Flow", "Waiting", "Workers", "Failing", "State", "Events")
    ]


def test_nothing_moves_for_who_wants_no_motion(served: Served, view: View) -> None:
    served.snapshot = snapshots.healthy()
    assert view(served.url, reduced_motion="no-preference").look().evaluate(MOVING) > 0
    assert view(served.url, reduced_motion="reduce").look().evaluate(MOVING) == 0


def test_names_and_texts_are_never_markup(served: Served, view: View) -> None:
    served.snapshot = snapshots.hostile()
    served.stack = {"worker": 1, "call": snapshots.HOSTILE, "stack": snapshots.HOSTILE}
    page = view(served.url).look()
    page.get_by_role("button", name="Stack of").click()
    expect(page.locator("#stack")).to_have_text(snapshots.HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('img, body script').length") == 0
    for selector in ("#name", "#rest", ".pipe-name", ".group pre", "#happenings span"):
        expect(page.locator(selector).first).to_have_text(snapshots.HOSTILE)
    # What turns the direction of writing would write over its neighbours.
    assert "\u202e" not in page.locator("body").inner_text()


def test_numbers_are_short_and_have_units(served: Served, view: View) -> None:
    served.snapshot = snapshots.bare()
    page = view(served.url).look()
    said = page.evaluate(
        """async () => {
          const w = await import("./words.js");
          return {
            time: [0, 0.001, 0.041, 4.21, 80, 999.6, 4210, 41_300, 119_400, 119_600, 8e6, -1500,
              null]
              .map(w.time),
            rate: [0, 0.001, 0.31, 3.14, 31.44, 312.4, 999.9, 12_400, 1.25e6, null].map(w.rate),
            bytes: [0, 512, 1024, 3.2e8, 1.5 * 2 ** 30].map(w.bytes),
            percent: [0, 0.0004, 0.031, 0.5, 0.999, 1].map(w.percent),
            count: [0, 999, 1000, 1204311].map(w.count),
          };
        }"""
    )
    plain = {it: [one.replace("\xa0", " ") for one in all_] for it, all_ in said.items()}
    assert plain == {
        "time": [
            *("0 ms", "<0.01 ms", "0.04 ms", "4.2 ms", "80 ms", "1 s", "4.2 s", "41 s", "119 s"),
            *("2 min", "2 h", "-1.5 s", DASH),
        ],
        "rate": ["0", "<0.01", "0.31", "3.1", "31.4", "312", "1 k", "12.4 k", "1.3 M", DASH],
        "bytes": ["0 B", "512 B", "1 KiB", "305 MiB", "1.5 GiB"],
        "percent": ["0 %", "<0.1 %", "3.1 %", "50 %", "100 %", "100 %"],
        "count": ["0", "999", "1,000", "1,204,311"],
    }
