//! What the engineer does with many locks at once, in a real browser, found by what can be read and by roles.

use std::time::Duration;

use fantoccini::Locator;
use fantoccini::key::Key;
use fred::interfaces::KeysInterface as _;
use lockkeeper_tests::{Browser, Family, HURRIED, LockClient, RedisServer, Server, until};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(300);

/// A store that is in production, whose locks may be released by everybody here.
async fn production() -> (RedisServer, Server) {
    let redis = RedisServer::start().await;
    let config =
        format!("[[source]]\nname = \"orders\"\nurl = \"{}\"\nenvironment = \"production\"\n{HURRIED}", redis.url());
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    (redis, server)
}

/// Takes locks of these names and waits until the server has seen them.
async fn hold(server: &Server, redis: &RedisServer, names: &[&str]) -> Vec<LockClient> {
    let client = redis.client().await;
    let mut holders = Vec::new();
    for name in names {
        let holder = Family::RedisPy.client(&client, name, Some(LEASE));
        assert!(holder.take().await);
        server.api().until_lock("the lock", &holder.key, |_| true).await;
        holders.push(holder);
    }
    holders
}

/// Ticks every warning in the dialog.
async fn tick_all(browser: &Browser) {
    for tick in browser.client.find_all(Locator::Css("dialog label.tick input")).await.unwrap() {
        let label = "return arguments[0].closest('label').innerText";
        let label = browser.client.execute(label, vec![serde_json::to_value(&tick).unwrap()]).await.unwrap();
        if !label.as_str().unwrap_or_default().contains("One after the other") {
            tick.click().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_chosen_locks_the_one_that_changes_hands_meanwhile_is_left_alone() {
    let (redis, server) = production().await;
    let holders = hold(&server, &redis, &["stuck:1", "stuck:2", "stuck:3", "other"]).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.until_text("stuck:3").await;
    browser.click("button", "Select").await;
    for name in ["stuck:1", "stuck:2", "stuck:3"] {
        browser.click("checkbox", &format!("Select {name}")).await;
    }
    browser.until_text("3 selected").await;
    browser.click("button", "Release…").await;
    browser.by_role("dialog", "Release 3 locks?").await;
    browser.by_role("textbox", "Why").await.send_keys("INC-7: the importer hangs").await.unwrap();
    browser.by_role("textbox", "to confirm").await.send_keys("release 3 locks").await.unwrap();
    tick_all(&browser).await;

    // In production nothing is freed before it was looked at what would be.
    let submit = browser.client.find(Locator::Css("dialog button[type=submit]")).await.unwrap();
    assert!(!submit.is_enabled().await.unwrap());
    browser.click("button", "Dry run").await;
    browser.until_text("3 would be released").await;

    assert!(holders[1].release().await);
    let next = holders[1].fresh();
    assert!(next.take().await);
    browser.until_text("It changed hands while you were reading").await;
    browser.click("button", "Release").await;
    browser.until_text("2 released, 1 changed hands").await;
    assert!(next.renew().await, "the next holder keeps it");
    assert!(!holders[0].renew().await && !holders[2].renew().await);
    assert!(holders[3].renew().await, "nothing else is touched");
    browser.click("button", "Close").await;
    browser.until_no_text("changed hands").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_chosen_with_shift_or_by_keys_and_escape_lets_go_of_it() {
    let (redis, server) = production().await;
    hold(&server, &redis, &["range:a", "range:b", "range:c", "range:d"]).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?sort=name", server.url())).await;
    browser.until_text("range:d").await;
    let press = async |key: &str, shift: bool| {
        let script =
            "window.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], shiftKey: arguments[1] }))";
        browser.client.execute(script, vec![json!(key), json!(shift)]).await.unwrap();
    };
    press("ArrowDown", false).await;
    press("x", false).await;
    browser.until_text("1 selected").await;
    press("ArrowDown", false).await;
    press("ArrowDown", false).await;
    press("X", true).await;
    browser.until_text("3 selected").await;
    press("Escape", false).await;
    browser.until_no_text("selected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_offered_understood_and_where_they_are_not_the_rows_stay() {
    let (redis, server) = production().await;
    hold(&server, &redis, &["stock:1", "stock:2"]).await;
    let immortal = Family::RedisPy.client(&redis.client().await, "immortal", None);
    assert!(immortal.take().await);
    server.api().until_lock("the lock", &immortal.key, |_| true).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.until_text("stock:2").await;

    // What a word could become is offered, with how many it would leave, and taken with the keyboard alone.
    let search = browser.by_role("combobox", "Search locks").await;
    search.send_keys("flag:no-e").await.unwrap();
    browser.by_role("option", "flag:no-expiry").await;
    search.send_keys(&format!("{}{}", char::from(Key::Down), char::from(Key::Enter))).await.unwrap();
    browser.until_text("Locks flagged “no expiry”").await;
    browser.until_no_text("stock:2").await;
    browser.until_text("immortal").await;

    // What is not understood changes nothing but what is said. Pasted, because each letter is a question of its own.
    browser.run("document.execCommand('insertText', false, 'held>5x')").await;
    let text = browser.until_text("`held>5x` is not understood").await;
    assert!(text.contains("immortal") && !text.contains("stock:2"), "{text}");
    search.clear().await.unwrap();
    search.send_keys("-name:immortal").await.unwrap();
    browser.until_text("stock:2").await;
    until("no row of it", async || browser.try_by_role("link", "immortal").await.is_none(), |gone| *gone).await;

    // The address asks for the same, for a colleague.
    let address = browser.client.current_url().await.unwrap();
    assert_eq!(address.query(), Some("q=-name%3Aimmortal"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_kept_and_gone_to_by_its_name() {
    let (redis, server) = production().await;
    hold(&server, &redis, &["stock:1", "jobs:1"]).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?q=name%3Ajobs", server.url())).await;
    browser.until_no_text("stock:1").await;
    browser.click("button", "View").await;
    browser.by_role("textbox", "Name of this view").await.send_keys("Only jobs").await.unwrap();
    browser.click("button", "Keep").await;
    browser.until_text("Kept in this browser").await;
    browser.open(&server.url()).await;
    browser.until_text("stock:1").await;
    let open = "window.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true, cancelable: true }))";
    browser.client.execute(open, Vec::new()).await.unwrap();
    let place = browser.by_role("combobox", "Go to a page").await;
    place.send_keys("only j").await.unwrap();
    browser.by_role("option", "Only jobs").await;
    place.send_keys(&char::from(Key::Enter).to_string()).await.unwrap();
    browser.until_no_text("stock:1").await;
    browser.until_text("jobs:1").await;

    // A lock is found by its name, wherever one is.
    browser.client.execute(open, Vec::new()).await.unwrap();
    let place = browser.by_role("combobox", "Go to a page").await;
    place.send_keys("stock").await.unwrap();
    browser.click("option", "stock:1").await;
    browser.by_role("heading", "stock:1").await;
}

/// Nodes that the page keeps, in the document or anywhere else, once what nobody needs is collected.
async fn nodes(browser: &Browser) -> u64 {
    browser.cdp("HeapProfiler.collectGarbage", json!({})).await;
    browser.cdp("Memory.getDOMCounters", json!({})).await["nodes"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_made_way_for_others_leave_nothing_behind() {
    const LOCKS: usize = 120;
    const ROUNDS: usize = 20;
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let names: Vec<String> = (0..LOCKS).map(|n| format!("job:{n}")).collect();
    let holders = hold(&server, &redis, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?sort=name", server.url())).await;
    drop(holders);
    let mut before = 0;
    for round in 0..ROUNDS {
        // The other end of the list, so that every row in sight is another one.
        let first = if round % 2 == 0 { "job:0" } else { "job:99" };
        let name = "return document.querySelector('[role=grid] tbody [role=row] a')?.textContent ?? ''";
        until("the rows of that end", async || browser.run(name).await, |name| *name == *first).await;
        if round == 1 {
            before = nodes(&browser).await;
        }
        browser.run("document.querySelector('[role=grid] th.c-lock button').click()").await;
    }
    until("what is gone to be forgotten", async || nodes(&browser).await, |nodes| *nodes < 2 * before).await;
}

/// Scrolls through the list in leaps and in small steps, for some seconds. Answers how many rows were looked at, a frame at a time,
/// and those of them that said another name than belongs where they stood.
const SCROLL_AND_LOOK: &str = "return new Promise(done => { \
    const scroller = document.querySelector('.scroller'), body = scroller.querySelector('tbody'); \
    const end = scroller.scrollHeight - scroller.clientHeight, wrong = []; \
    let looked = 0, frames = 0; \
    const look = () => { \
        if (body.classList.contains('elsewhere')) return; \
        const top = body.getBoundingClientRect().top; \
        for (const row of body.querySelectorAll('tr:not([data-covered])')) { \
            const box = row.getBoundingClientRect(), place = Math.round((box.top - top) / box.height); \
            const name = row.querySelector('a').textContent; \
            looked += 1; \
            if (name !== `lock:job:${10000 + place}`) wrong.push(`${name} at ${place}`); \
        } \
    }; \
    const frame = () => { \
        look(); \
        frames += 1; \
        if (frames === 300) return done({ looked, wrong: wrong.slice(0, 10) }); \
        if (frames % 30 === 0) scroller.scrollTop = end * (frames * 7 % 11) / 11; \
        else if (frames % 30 < 20) scroller.scrollTop += (20 - frames % 30) * 40; \
        requestAnimationFrame(frame); \
    }; \
    requestAnimationFrame(frame); \
})";

#[tokio::test(flavor = "multi_thread")]
async fn no_row_ever_says_what_belongs_elsewhere_while_somebody_scrolls() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let client = redis.client().await;
    let many: Vec<(String, String)> =
        (10_000..15_000).map(|n| (format!("lock:job:{n}"), format!("{n:032x}"))).collect();
    let _: () = client.mset(many).await.unwrap();
    until("all to be seen", async || server.api().locks("limit=1").await.total, |total| *total == 5_000).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?sort=name", server.url())).await;
    browser.until_text("lock:job:10000").await;
    let seen = browser.run(SCROLL_AND_LOOK).await;
    assert_eq!(seen["wrong"], serde_json::json!([]));
    assert!(seen["looked"].as_u64().unwrap() > 300, "{seen}");
    // What is in sight in the end says all that it is to say.
    let covered = async || browser.run("return document.querySelectorAll('tr[data-covered]').length").await;
    until("every row to be written", covered, |rows| *rows == 0).await;
}

/// The row that is drawn under the middle of the table: its lock, its place in the list, and where it lies on the screen.
const IN_THE_MIDDLE: &str = "const box = document.querySelector('.scroller').getBoundingClientRect(); \
    const row = document.elementFromPoint(box.left + 40, box.top + box.height / 2)?.closest('tbody [role=row]'); \
    return row && { lock: row.querySelector('a').textContent, place: Number(row.ariaRowIndex), top: row.getBoundingClientRect().top }";

/// The lock of the first row that is drawn below the head of the table.
const AT_THE_TOP: &str = "const box = document.querySelector('.scroller').getBoundingClientRect(); \
    const head = document.querySelector('[role=grid] thead').getBoundingClientRect(); \
    const row = document.elementFromPoint(box.left + 40, head.bottom + 20)?.closest('tbody [role=row]'); \
    return row && row.querySelector('a').textContent";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_in_the_middle_of_the_list_stays_while_others_come_and_go_above() {
    const ABOVE: u64 = 30;
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let client = redis.client().await;
    let many: Vec<(String, String)> = (1_000..1_600).map(|n| (format!("lock:job:{n}"), format!("{n:032x}"))).collect();
    let _: () = client.mset(many).await.unwrap();
    until("all to be seen", async || server.api().locks("limit=1").await.total, |total| *total == 600).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?sort=name", server.url())).await;
    browser.until_text("600 locks").await;
    let look = async || browser.run(IN_THE_MIDDLE).await;
    let place = |row: &serde_json::Value| row["place"].as_u64().unwrap_or_default();
    browser.run("const s = document.querySelector('.scroller'); s.scrollTop = s.scrollHeight / 2").await;
    let before = until("a row in the middle", look, |row| place(row) > 100).await;

    let above: Vec<(String, String)> = (0..ABOVE).map(|n| (format!("lock:a:{n:02}"), format!("{n:032x}"))).collect();
    let keys: Vec<String> = above.iter().map(|(key, _)| key.clone()).collect();
    let _: () = client.mset(above).await.unwrap();
    let after = until("those above to be counted", look, |row| place(row) == place(&before) + ABOVE).await;
    assert_eq!((&after["lock"], &after["top"]), (&before["lock"], &before["top"]));

    // Scrolled on from there, every row is where it belongs.
    browser.run("document.querySelector('.scroller').scrollTop += 580").await;
    let further = until("ten rows further down", look, |row| place(row) == place(&after) + 10).await;
    assert_eq!(further["lock"], format!("lock:job:{}", 1_000 + place(&further) - ABOVE - 2));
    let _: () = client.del(keys).await.unwrap();
    let back = until("those above to be gone", look, |row| place(row) == place(&further) - ABOVE).await;
    assert_eq!((&back["lock"], &back["top"]), (&further["lock"], &further["top"]));
    browser.run("const s = document.querySelector('.scroller'); s.scrollTop = s.scrollHeight").await;
    browser.until_text("lock:job:1599").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_to_the_top_of_a_list_that_grows_there_gets_to_its_top() {
    /// As fast as locks come while a queue is worked off.
    const EVERY: Duration = Duration::from_millis(1);
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let client = redis.client().await;
    let many: Vec<(String, String)> = (1_000..1_600).map(|n| (format!("lock:job:{n}"), format!("{n:032x}"))).collect();
    let _: () = client.mset(many).await.unwrap();
    let browser = Browser::start().await;
    browser.open(&format!("{}?sort=name", server.url())).await;
    browser.until_text("600 locks").await;
    let (leave, mut left) = tokio::sync::oneshot::channel::<()>();
    let growing = tokio::spawn(async move {
        let mut beat = tokio::time::interval(EVERY);
        let mut first = 1_000_000_u32;
        while left.try_recv().is_err() {
            beat.tick().await;
            first -= 1;
            let _: () =
                client.set(format!("lock:a:{first}"), format!("{first:032x}"), None, None, false).await.unwrap();
        }
        first
    });
    for _ in 0..5 {
        browser.run("const s = document.querySelector('.scroller'); s.scrollTop = s.scrollHeight / 2").await;
        let is_far_down = |row: &serde_json::Value| row["place"].as_u64().is_some_and(|place| place > 100);
        until("a row in the middle", async || browser.run(IN_THE_MIDDLE).await, is_far_down).await;
        browser.run("document.querySelector('.scroller').scrollTop = 0").await;
        let place = "return document.querySelector('[role=grid] tbody [role=row]:not([data-covered])')?.ariaRowIndex";
        until("the first row", async || browser.run(place).await, |place| *place == "2").await;
    }
    leave.send(()).unwrap();
    let first = growing.await.unwrap();
    let is_first = |lock: &serde_json::Value| *lock == format!("lock:a:{first}");
    until("the last that came, at the top", async || browser.run(AT_THE_TOP).await, is_first).await;
}
