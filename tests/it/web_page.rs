//! The status page in a browser. Left out, with a message, where Chromium is not installed.

use std::fs;

use serde_json::{Value, json};

use crate::support::chromium::Chromium;
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::SOON;
use crate::support::zips::zip;
use crate::web::page;

const TOKEN: &str = "a-token-that-nobody-guesses";
/// A name that becomes markup where somebody is careless.
const HOSTILE: &str = "<img src=x onerror=document.title='owned'>.zip";
/// A name that turns round what stands behind it, and how it is shown.
const TURNED: &str = "a\u{202e}piz.exe.zip";
const TURNED_SHOWN: &str = "a\\u{202e}piz.exe.zip";

/// Two servers, one of which refuses everybody in words that are markup.
struct Scene {
    good: ScriptedServer,
    _bad: ScriptedServer,
    _stub: NotifyStub,
    service: Service,
    url: String,
}

fn scene() -> Scene {
    let (good, bad, stub) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    good.put(format!("/{HOSTILE}"), File::new(zip(1, 3000)));
    good.put(format!("/{TURNED}"), File::new(zip(2, 3000)));
    bad.rule(Rule::on("PASS").reply("530 <b>no</b> <script>document.title='owned'</script>\r\n"));
    let setup = Setup::new().server(Server::scripted("omc02", &bad)).server(Server::scripted("omc01", &good));
    let path = setup.directory().join("token");
    fs::write(&path, TOKEN).unwrap();
    let web = format!("[web]\nlisten = '127.0.0.1:0'\ntoken_file = '{}'\n", path.display());
    let service = setup.toml(&web).notify(&stub.url()).run();
    let url = format!("http://{}/", page(&service));
    Scene { good, _bad: bad, _stub: stub, service, url }
}

fn texts(browser: &mut Chromium, selector: &str) -> Vec<String> {
    let script = format!("[...document.querySelectorAll({selector:?})].map((found) => found.textContent)");
    let found = browser.run(&script);
    found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_operator_starts_the_service_and_sees_what_needs_attention() {
    let Some(mut browser) = Chromium::start("en-US") else { return };
    let scene = scene();
    browser.resize(1300, 900);
    browser.open(&scene.url);
    browser.wait_for("the state", "document.getElementById('state').textContent === 'Stopped'");
    browser.wait_for("a server", "document.querySelectorAll('#server-rows tr').length === 2");
    browser.run("document.getElementById('start').click()");
    browser.wait_for("the question for the token", "document.getElementById('token-dialog').open");
    browser.run("document.getElementById('token').value = 'wrong'; document.getElementById('token-form').requestSubmit()");
    browser.wait_for("the refusal", "document.getElementById('token-fault').textContent !== ''");
    browser.run(&format!(
        "document.getElementById('token').value = '{TOKEN}'; document.getElementById('token-form').requestSubmit()"
    ));
    browser.wait_for("the answer", "document.getElementById('said').textContent === 'ok: started 2 servers'");
    browser.wait_for("the state", "document.getElementById('state').textContent === 'Running'");
    assert_eq!(scene.service.status()["running"], true);
    browser.wait_for("the refusal of the server", "document.querySelector('#alarms .bad span')");
    browser.wait_for("the files", "document.querySelectorAll('#newest-rows .path').length === 2");
    let alarms = texts(&mut browser, "#alarms .bad");
    assert!(
        alarms[0].starts_with("omc02 Unreachable: ") && alarms[0].contains("530 <b>no</b> <script>"),
        "{alarms:?}"
    );
    let mut newest = texts(&mut browser, "#newest-rows .path");
    newest.sort_unstable();
    assert_eq!(newest, [format!("/{HOSTILE}"), format!("/{TURNED_SHOWN}")]);
    let title = browser.run("document.title");
    assert!(title.as_str().unwrap().ends_with(") MROSync"), "text from servers is text: {title}");
    assert_eq!(browser.run("document.querySelectorAll('main img, main script, main td b').length"), 0);
    browser.run("document.getElementById('stop').click()");
    browser.wait_for("the state", "document.getElementById('state').textContent === 'Stopped'");
    assert_eq!(scene.service.status()["running"], false);
}

#[test]
fn the_servers_sort_by_any_column_with_the_keyboard_alone() {
    let Some(mut browser) = Chromium::start("en-US") else { return };
    let scene = scene();
    browser.open(&scene.url);
    browser.wait_for("the servers", "document.querySelectorAll('#server-rows tr').length === 2");
    assert_eq!(texts(&mut browser, "#server-rows th"), ["omc01", "omc02"]);
    let heads = texts(&mut browser, "#server-heads button");
    let focused = "document.activeElement.parentElement?.parentElement?.id === 'server-heads'";
    for _ in 0..40 {
        if browser.run(focused) == true {
            break;
        }
        browser.press("Tab", "");
    }
    assert_eq!(browser.run("document.activeElement.textContent"), heads[0]);
    browser.press("Enter", "\r");
    assert_eq!(texts(&mut browser, "#server-rows th"), ["omc02", "omc01"]);
    assert_eq!(browser.run("document.querySelector('#server-heads th').ariaSort"), "descending");
    for (place, head) in heads.iter().enumerate().skip(1) {
        browser.press("Tab", "");
        browser.press("Enter", "\r");
        let sorted = format!("document.querySelectorAll('#server-heads th')[{place}].ariaSort");
        assert_eq!(browser.run(&sorted), "ascending", "{head}");
    }
}

/// interface 20.1
#[test]
fn the_page_speaks_the_readers_language_and_remembers_another_choice() {
    let Some(mut browser) = Chromium::start("zh-CN") else { return };
    let scene = scene();
    browser.open(&scene.url);
    browser.wait_for("Chinese", "document.getElementById('state').textContent === '已停止'");
    assert_eq!(browser.run("document.documentElement.lang"), "zh-CN");
    browser.run("document.getElementById('language').click()");
    browser.wait_for("English", "document.getElementById('state').textContent === 'Stopped'");
    browser.open(&scene.url);
    browser.wait_for("English again", "document.getElementById('state').textContent === 'Stopped'");
    let empty = "[...document.querySelectorAll('[data-text]')].filter((text) => !text.textContent).length";
    assert_eq!(browser.run(empty), 0, "every text is there");
    let same = "import('./texts.js').then(({ texts: { en, zh } }) => \
                JSON.stringify(Object.keys(en)) === JSON.stringify(Object.keys(zh)))";
    assert_eq!(browser.run(same), true, "and in both languages");
}

#[test]
fn nothing_is_wider_than_a_telephone_and_everything_has_a_name() {
    let Some(mut browser) = Chromium::start("en-US") else { return };
    let scene = scene();
    browser.resize(360, 740);
    browser.open(&format!("{}#token={TOKEN}", scene.url));
    browser.wait_for("the servers", "document.querySelectorAll('#server-rows tr').length === 2");
    browser.run("document.getElementById('start').click()");
    browser.wait_for("the file", "document.querySelector('#newest-rows .path')");
    browser.wait_for("the fault", "document.querySelector('#alarms .bad span')");
    assert_eq!(browser.run("document.documentElement.scrollWidth"), 360);
    assert_eq!(browser.run("location.hash"), "", "the token does not stay in the address");
    browser.call("Accessibility.enable", json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nameless: Vec<&Value> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| !node["ignored"].as_bool().unwrap_or(false))
        .filter(|node| {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            matches!(role, "button" | "combobox" | "image" | "region" | "textbox" | "link" | "heading")
        })
        .filter(|node| node["name"]["value"].as_str().unwrap_or_default().is_empty())
        .collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
    assert!(scene.good.count("RETR") > 0);
    scene.service.wait_for(SOON, "the records", |service| service.records().len() == 2);
}

#[test]
fn the_page_asks_for_nothing_while_nobody_looks() {
    let Some(mut browser) = Chromium::start("en-US") else { return };
    let scene = scene();
    browser.open(&scene.url);
    browser.wait_for("the servers", "document.querySelectorAll('#server-rows tr').length === 2");
    let asked = "performance.getEntriesByType('resource').length";
    // as a browser does with a page behind another one
    browser.run(
        "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }); \
         document.dispatchEvent(new Event('visibilitychange'))",
    );
    browser.run("new Promise((resolve) => setTimeout(resolve, 1000))");
    let before = browser.run(asked);
    browser.run("new Promise((resolve) => setTimeout(resolve, 5000))");
    assert_eq!(browser.run(asked), before);
    browser.run(
        "Object.defineProperty(document, 'hidden', { get: () => false, configurable: true }); \
         document.dispatchEvent(new Event('visibilitychange'))",
    );
    browser.wait_for("it asks again", &format!("{asked} > {before}"));
}

/// interface 20.21
#[test]
fn a_large_fleet_is_grouped_searched_and_looked_at_one_by_one() {
    let Some(mut browser) = Chromium::start("en-US") else { return };
    let good = ScriptedServer::start();
    good.put("/1.zip", File::new(zip(1, 3000)));
    good.put("/2.zip", File::new(zip(2, 3000)));
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let dead = (1..=60).map(|n| Server::at(&format!("dead{n:02}"), nobody));
    let setup = dead.fold(Setup::new(), Setup::server).server(Server::scripted("omc01", &good));
    let service = setup.interval("1s").toml("[web]\nlisten = '127.0.0.1:0'\n").started().run();
    let url = format!("http://{}/", page(&service));
    browser.resize(390, 800);
    browser.open(&url);
    browser.wait_for(
        "one line for all",
        "document.querySelector('#alarms .fold')?.textContent.startsWith('60 servers')",
    );
    assert!(texts(&mut browser, "#alarms .bad p")[0].ends_with("Unreachable: connection refused"));
    assert_eq!(browser.run("document.documentElement.scrollWidth"), 390);
    assert_eq!(
        browser.run("document.querySelectorAll('#server-rows tr').length"),
        15,
        "a telephone shows some"
    );
    browser.run("document.querySelector('#alarms .fold').click()");
    browser.wait_for("all of them", "document.querySelectorAll('#alarms .those a').length === 60");
    browser.resize(1300, 900);
    browser.wait_for("the whole table", "document.querySelectorAll('#server-rows tr').length === 61");
    let shown = "[...document.querySelectorAll('#server-rows th')].map((name) => name.textContent).join()";
    let search = "const words = document.getElementById('server-words'); words.value = 'ead07'; \
                  words.dispatchEvent(new Event('input'))";
    browser.run(&format!("(() => {{ {search} }})()"));
    assert_eq!(browser.run(shown), "dead07");
    browser.run("document.querySelector('#server-rows a').click()");
    browser.wait_for("its own page", "document.getElementById('one-name').textContent === 'dead07'");
    browser.wait_for(
        "its scans",
        "document.querySelector('#one-scans .words')?.textContent.includes('refused')",
    );
    browser.wait_for("its log", "document.querySelector('#log-lines li')?.textContent.includes('dead07')");
    assert_eq!(browser.run("document.getElementById('home-view').hidden"), true);
    // an address that was kept leads there again
    browser.open("about:blank");
    browser.open(&format!("{url}#/server/omc01"));
    browser.wait_for("its records", "document.querySelectorAll('#found-rows .path').length === 2");
    browser.run("location.hash = '#/records'");
    browser.wait_for("the search", "!document.getElementById('records-view').hidden && document.querySelectorAll('#found-rows .path').length === 2");
    browser.run("document.getElementById('find-path').value = '2.zip'; document.getElementById('records-form').requestSubmit()");
    browser.wait_for("the one", "document.querySelectorAll('#found-rows .path').length === 1");
    assert_eq!(texts(&mut browser, "#found-rows .path"), ["/2.zip"]);
    browser.run("location.hash = '#/log'");
    browser.wait_for("the log", "document.querySelectorAll('#log-lines li').length > 60");
}
