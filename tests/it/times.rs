//! Clocks and zones of servers: what becomes of a file whose time is shown otherwise, and has not changed.

use chrono::{DateTime, Datelike, TimeDelta, Utc};

use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::Service;
use crate::support::steps::{SOON, faultless, logged, one, recorded, rescanned, shown, with};
use crate::support::zips::zip;

/// Three days ago, to the minute, so that LIST shows the time of day.
fn lately() -> i64 {
    (Utc::now() - TimeDelta::days(3)).timestamp() / 60 * 60
}

/// interface 10.24
#[test]
fn a_change_of_the_servers_zone_is_one_line_and_no_change_of_its_files() {
    for (mlsd, by, words) in
        [(true, 3600, "1h later"), (false, -3600, "1h earlier"), (false, 19_800, "5h 30m later")]
    {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        let at = lately();
        let show = |shift: i64| {
            for n in 0..4_u64 {
                let path = format!("/{}/{n}.zip", n % 2);
                ftp.put(path, File::new(zip(n, 2000)).modified(at + shift - 3600 * n as i64));
            }
        };
        show(0);
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        rescanned(&ftp, 2);
        show(by);
        service.wait_for(SOON, "a line", |service| {
            !logged(service, &format!("of 4 known files {words}")).is_empty()
        });
        rescanned(&ftp, 3);
        faultless(&service);
        assert_eq!((shown(&service, "changed_files"), ftp.count("RETR")), (0.into(), 4));
        assert_eq!(logged(&service, "known files").len(), 1);
        // what is written again is a change all the same, and so is one file alone half an hour later
        ftp.put("/0/0.zip", File::new(zip(9, 2500)).modified(at + by));
        service.wait_for(SOON, "a change", |service| shown(service, "changed_files") == 1);
        ftp.put("/1/1.zip", File::new(zip(1, 2000)).modified(at + by - 3600 + 1800));
        service.wait_for(SOON, "another", |service| shown(service, "changed_files") == 2);
        rescanned(&ftp, 2);
        assert_eq!(shown(&service, "changed_files"), 2);
    }
}

/// interface 10.23
#[test]
fn a_server_whose_clock_is_ahead_lists_files_of_this_year() {
    let ftp = ScriptedServer::start();
    ftp.manner(|manner| manner.mlsd_in_feat = false);
    let size = zip(1, 2000).len();
    let list = |shown: DateTime<Utc>, format| {
        let line = format!("-rw-r--r-- 1 u g {size} {} a.zip\r\n", shown.format(format));
        // what is listed in between is no other time
        ftp.put("/a.zip", File::new(zip(1, 2000)).modified(shown.timestamp()));
        ftp.behave();
        ftp.rule(Rule::on("LIST").about("/").content(line));
    };
    let year = |service: &Service| {
        let modified = service.records()[0]["modified"].as_str().unwrap()[..4].to_owned();
        modified.parse::<i32>().unwrap()
    };
    let ahead = Utc::now() + TimeDelta::days(3);
    list(ahead, "%b %e %H:%M");
    let since = (Utc::now() - TimeDelta::days(30)).format("'%Y-%m-%dT%H:%M'").to_string();
    let service = with(&ftp, &[("since", &since)]).started().run();
    recorded(&service, 1);
    assert_eq!(year(&service), ahead.year());
    // half a year later, with the year in place of the time
    for format in ["%b %e  %Y", "%b %e %H:%M"] {
        list(ahead, format);
        rescanned(&ftp, 2);
    }
    assert_eq!((shown(&service, "changed_files"), ftp.count("RETR")), (0.into(), 1));
    drop(service);
    // further ahead the year is guessed wrong where MDTM does not tell, until it is shown; a leap day would be years away
    let mut days = (10..12).map(|days| Utc::now() + TimeDelta::days(days));
    let further = days.find(|day| (day.month(), day.day()) != (2, 29)).unwrap();
    list(further, "%b %e %H:%M");
    ftp.rule(Rule::on("MDTM").reply("500 Unknown command.\r\n"));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    assert_eq!(year(&service), further.year() - 1);
    list(further, "%b %e  %Y");
    rescanned(&ftp, 2);
    assert_eq!((shown(&service, "changed_files"), ftp.count("RETR")), (0.into(), 2));
}

/// interface 5.17
#[test]
fn a_clock_that_is_weeks_ahead_is_found_out_and_since_passes_over_none_of_its_files() {
    // by how many days the file's time is ahead, and what MDTM says where it is not the same
    for (days, mdtm, taken) in [
        (20, None, true),
        (90, None, true),
        (20, Some("213 20200101000000\r\n"), false),
        (20, Some("500 Unknown command.\r\n"), false),
    ] {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| manner.mlsd_in_feat = false);
        let at = Utc::now() + TimeDelta::days(days);
        let size = zip(1, 2000).len();
        ftp.put("/a.zip", File::new(zip(1, 2000)).modified(at.timestamp()));
        ftp.put("/d/b.zip", File::new(zip(2, 2000)));
        let line = |name: &str, at: DateTime<Utc>| {
            format!("-rw-r--r-- 1 u g {size} {} {name}\r\n", at.format("%b %e %H:%M"))
        };
        let root = format!("{}drwxr-xr-x 1 u g 9 {} d\r\n", line("a.zip", at), at.format("%b %e %H:%M"));
        ftp.rule(Rule::on("LIST").about("/").content(root));
        ftp.rule(Rule::on("LIST").about("/d").content(line("b.zip", at)));
        if let Some(mdtm) = mdtm {
            ftp.rule(Rule::on("MDTM").reply(mdtm));
        }
        let since = (Utc::now() - TimeDelta::days(30)).format("'%Y-%m-%dT%H:%M'").to_string();
        let service = with(&ftp, &[("since", &since), ("connections", "1")]).started().run();
        recorded(&service, if taken { 2 } else { 0 });
        rescanned(&ftp, 3);
        faultless(&service);
        assert_eq!(
            (service.records().len(), ftp.count("MDTM")),
            (if taken { 2 } else { 0 }, 1),
            "{days} {mdtm:?}"
        );
        let said = logged(&service, "the server's clock is ahead of this host's by");
        assert_eq!(said.len(), usize::from(taken), "{said:?}");
        assert_eq!(shown(&service, "changed_files"), 0);
    }
}
