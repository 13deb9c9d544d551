//! Files and directories under their final names.

use encoding_rs::UTF_8;

use super::bench::{Bench, name, omc01, open, path, publish, target};
use crate::base::file_names::FileNames;
use crate::base::names::{RemotePath, ServerName};
use crate::mirror::error::PublishError;
use crate::mirror::store::Deleted;

pub(in crate::mirror) fn a_file_is_deleted_once_and_one_that_is_gone_is_no_failure(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    let file = path("/a/1.zip");
    publish(&*server, target("/a", "1.zip"), &[7; 5000]).1.unwrap();
    assert_eq!(mirror.size(&omc01(), &file).unwrap(), Some(5000));
    assert!(mirror.is_present(&omc01(), &file).unwrap());
    assert!(bench.location().is_taken(&omc01(), &file).unwrap());
    // on a disk, a second name of the same bytes keeps them there
    assert!(matches!(mirror.delete(&omc01(), &file), Ok(Deleted::Removed { bytes }) if bytes > 0));
    assert!(!mirror.is_present(&omc01(), &file).unwrap());
    assert_eq!(bench.content(&omc01(), &file), None);
    for _ in 0..2 {
        mirror.sync_deleted(&omc01(), &file).unwrap();
        assert_eq!(mirror.delete(&omc01(), &file).unwrap(), Deleted::AlreadyGone);
    }
    let nowhere = (ServerName::new("none").unwrap(), path("/x/y/1.zip"));
    for (server, file) in [(&omc01(), &nowhere.1), (&nowhere.0, &file), (&nowhere.0, &nowhere.1)] {
        assert_eq!(mirror.delete(server, file).unwrap(), Deleted::AlreadyGone);
        mirror.sync_deleted(server, file).unwrap();
        assert_eq!(mirror.size(server, file).unwrap(), None);
    }
}

pub(in crate::mirror) fn many_files_are_looked_for_each_at_its_own_place(bench: &dyn Bench) {
    let (mirror, _server) = open(bench);
    let [one, two, three, none] =
        ["omc01", "omc02", "omc03", "none"].map(|name| ServerName::new(name).unwrap());
    let there =
        [(&one, "/b/1.zip"), (&two, "/a/2.zip"), (&one, "/a/1.zip"), (&one, "/3.zip"), (&three, "/b/1.zip")];
    let gone =
        [(&two, "/b/1.zip"), (&one, "/a/2.zip"), (&two, "/3.zip"), (&one, "/c/1.zip"), (&none, "/3.zip")];
    for (server, text) in there {
        bench.put(server, &path(text), b"ours");
    }
    bench.link(&one, &path("/link"));
    // one that cannot be looked at, and one that is asked for twice
    let others = [(&one, "/link/1.zip"), (&one, "/a/1.zip")];
    let all = there.iter().chain(&gone).chain(&others);
    let paths: Vec<_> = all.map(|(server, text)| (*server, path(text))).collect();
    let files: Vec<_> = paths.iter().map(|(server, path)| (*server, path)).collect();
    let expected = [[false; 5].as_slice(), &[true; 5], &[false; 2]].concat();
    assert_eq!(mirror.gone(&files), expected);
    assert!(mirror.gone(&[]).is_empty());
}

pub(in crate::mirror) fn no_path_leads_out_of_its_server_whoever_put_it_together(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    let neighbour = ServerName::new("omc02").unwrap();
    bench.put(&neighbour, &path("/a/1.zip"), b"theirs");
    bench.put(&omc01(), &path("/a/1.zip"), b"theirs");
    for text in ["/../omc02/a", "/a/../../omc02/a", "/..", "/a/./b", "/."] {
        let out = RemotePath::from_parts(text.into(), text.into());
        assert!(server.directory(&out).is_err(), "{text}");
        let file = out.join(&name("1.zip"));
        assert!(!matches!(mirror.delete(&omc01(), &file), Ok(Deleted::Removed { .. })), "{text}");
        assert!(!matches!(mirror.size(&omc01(), &file), Ok(Some(_))), "{text}");
        let goal =
            crate::mirror::server::Target { directory: std::sync::Arc::new(out), ..target("/", "new.zip") };
        assert!(publish(&*server, goal, b"ours").1.is_err(), "{text}");
    }
    assert_eq!(bench.content(&neighbour, &path("/a/1.zip")).unwrap(), b"theirs");
    assert_eq!(bench.content(&omc01(), &path("/a/1.zip")).unwrap(), b"theirs");
    assert_eq!(bench.content(&neighbour, &path("/a/new.zip")), None);
}

pub(in crate::mirror) fn nothing_is_done_through_a_symbolic_link(bench: &dyn Bench) {
    let (mirror, server) = open(bench);
    bench.link(&omc01(), &path("/a/link"));
    let behind = path("/a/link/precious.zip");
    assert!(server.directory(&path("/a/link")).is_err());
    assert!(server.directory(&path("/a/link/below")).is_err());
    assert!(!matches!(mirror.size(&omc01(), &behind), Ok(Some(_))));
    assert!(mirror.delete(&omc01(), &behind).is_err());
    assert!(bench.location().delete(&[(omc01(), behind)]).is_err());
    let outcome = publish(&*server, target("/a/link", "new.zip"), b"ours").1;
    assert!(matches!(outcome, Err(PublishError::Disk(_))), "{outcome:?}");
    assert_eq!(bench.location().count_files(&[(omc01(), FileNames::default())], 9), 0);
    assert_eq!(bench.location().files(&omc01(), (&FileNames::default(), UTF_8), &[path("/")]).unwrap(), []);
    // the link itself is something that has a name
    assert!(server.directory(&path("/a")).unwrap().has(&name("link")));
    assert!(bench.is_outside_untouched());
}

pub(in crate::mirror) fn directories_are_made_and_what_stands_in_their_way_is_left_alone(bench: &dyn Bench) {
    let (_mirror, server) = open(bench);
    bench.put(&omc01(), &path("/a/file"), b"theirs");
    for _ in 0..2 {
        let directory = server.directory(&path("/a/b/c")).unwrap();
        directory.make(&name("d")).unwrap();
        assert!(directory.has(&name("d")) && !directory.has(&name("e")));
    }
    let above = server.directory(&path("/a")).unwrap();
    assert!(above.has(&name("b")) && above.has(&name("file")));
    above.make(&name("file")).unwrap();
    assert!(server.directory(&path("/a/file")).is_err() && server.directory(&path("/a/file/x")).is_err());
    assert_eq!(bench.content(&omc01(), &path("/a/file")).unwrap(), b"theirs");
    let (_, outcome) = publish(&*server, target("/a/file", "1.zip"), b"ours");
    assert!(matches!(outcome, Err(PublishError::Disk(_))), "{outcome:?}");
    assert!(!server.is_apart(&path("/a/b")) && !server.is_apart(&path("/nowhere")));
    assert!(server.capacity().is_none_or(|bytes| bytes > 0));
}

pub(in crate::mirror) fn zips_are_found_and_counted_up_to_a_limit_and_nothing_else_is(bench: &dyn Bench) {
    let [one, two, none] = ["omc01", "omc02", "none"].map(|name| ServerName::new(name).unwrap());
    for file in ["/MR/a.zip", "/MR/x/b.ZIP", "/MR/c.txt", "/other/d.zip"] {
        bench.put(&one, &path(file), b"1234");
    }
    bench.put(&two, &path("/e.zip"), b"1234");
    let location = bench.location();
    let found = |server: &ServerName, directories: &[RemotePath]| {
        let files = location.files(server, (&FileNames::default(), UTF_8), directories).unwrap();
        let shown = |file: &crate::mirror::store::MirroredFile| {
            (file.directory.join(&file.name).text().to_owned(), file.size)
        };
        let mut files: Vec<_> = files.iter().map(shown).collect();
        files.sort();
        files
    };
    assert_eq!(found(&one, &[path("/MR")]), [("/MR/a.zip".to_owned(), 4), ("/MR/x/b.ZIP".to_owned(), 4)]);
    assert_eq!(found(&one, &[path("/MR/x"), path("/nowhere")]), [("/MR/x/b.ZIP".to_owned(), 4)]);
    assert_eq!(found(&none, &[path("/")]), []);
    let texts = FileNames::new(&["*.TXT"]).unwrap();
    assert_eq!(location.files(&one, (&texts, UTF_8), &[path("/")]).unwrap().len(), 1);
    assert_eq!(location.count_files(&[(one.clone(), texts)], 9), 1);
    let servers = [one, two, none].map(|server| (server, FileNames::default()));
    assert_eq!([9, 4, 2, 0].map(|limit| location.count_files(&servers, limit)), [4, 4, 2, 0]);
}

pub(in crate::mirror) fn an_operator_deletes_many_files_and_the_same_call_goes_on_with_the_rest(
    bench: &dyn Bench,
) {
    let files = ["/a/1.zip", "/a/2.zip", "/b/3.zip", "/4.zip"].map(|file| (omc01(), path(file)));
    for (server, file) in files.iter().filter(|(_, file)| file.text() != "/a/2.zip") {
        bench.put(server, file, b"1234");
    }
    for _ in 0..2 {
        bench.location().delete(&files).unwrap();
        for (server, file) in &files {
            assert_eq!(bench.location().size(server, file).unwrap(), None);
            assert!(!bench.location().is_taken(server, file).unwrap());
        }
    }
}

pub(in crate::mirror) fn how_full_it_is_can_be_told_before_and_after_it_is_opened(bench: &dyn Bench) {
    let before = bench.location().measure().unwrap();
    let (mirror, server) = open(bench);
    publish(&*server, target("/", "1.zip"), &[7; 1 << 20]).1.unwrap();
    let after = mirror.measure().unwrap();
    assert!(after.at >= before.at && after.fault.is_none());
    assert!(after.usage.used.saturating_add(after.usage.available) > 0);
}
