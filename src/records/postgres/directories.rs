//! The directories of a batch, each once, and the files in them by their number there.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::Type;

use super::statement::Statement;
use crate::base::names::RemotePath;
use crate::records::stored::text_beside;

/// Most directories of which is remembered that they are on record.
const REMEMBERED: usize = 50_000;

/// Puts servers and directories on record that are not.
const MAKE_SERVERS: &str = "WITH new AS (
        INSERT INTO mrosync.servers (name)
        SELECT DISTINCT u.name FROM unnest($1) AS u (name)
        WHERE NOT EXISTS (SELECT FROM mrosync.servers s WHERE s.name = u.name)
        ON CONFLICT DO NOTHING RETURNING id)
    INSERT INTO mrosync.sums (server) SELECT id FROM new";
const MAKE: &str = "INSERT INTO mrosync.directories (server, wire, text)
    SELECT s.id, u.wire, u.text FROM unnest($1, $2, $3) AS u (server, wire, text)
    JOIN mrosync.servers s ON s.name = u.server
    WHERE NOT EXISTS (SELECT FROM mrosync.directories d WHERE d.server = s.id AND d.hash = sha256(u.wire))
    ON CONFLICT DO NOTHING";

type Key = (String, Vec<u8>);

/// The distinct directories of a batch, as columns.
#[derive(Default)]
pub(super) struct Directories<'a> {
    pub(super) servers: Vec<&'a str>,
    pub(super) wires: Vec<&'a [u8]>,
    /// Where the text is not the bytes.
    pub(super) texts: Vec<Option<&'a str>>,
    /// In any case.
    pub(super) locals: Vec<&'a str>,
    numbers: HashMap<(&'a str, &'a [u8]), i32>,
}

impl<'a> Directories<'a> {
    /// Returns the number of a directory in these columns, from 1 on.
    pub(super) fn number(&mut self, server: &'a str, directory: &'a RemotePath) -> i32 {
        let next = i32::try_from(self.wires.len() + 1).unwrap_or(i32::MAX);
        let key = (server, directory.wire());
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        self.numbers.insert(key, next);
        self.servers.push(server);
        self.wires.push(directory.wire());
        self.texts.push(text_beside(directory.wire(), directory.text()));
        self.locals.push(directory.text());
        next
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.servers.iter().zip(&self.wires).map(|(server, wire)| ((*server).to_owned(), wire.to_vec()))
    }

    /// What puts them on record, unless `known` has them all.
    pub(super) fn making(&self, known: &KnownDirectories) -> Vec<Statement<'_>> {
        if self.keys().all(|key| known.0.contains(&key)) {
            return Vec::new();
        }
        vec![
            Statement::new(MAKE_SERVERS, &[(&self.servers, Type::TEXT_ARRAY)]),
            Statement::new(
                MAKE,
                &[
                    (&self.servers, Type::TEXT_ARRAY),
                    (&self.wires, Type::BYTEA_ARRAY),
                    (&self.texts, Type::TEXT_ARRAY),
                ],
            ),
        ]
    }
}

/// Directories that were on record when they were last looked at. After a failover one may be gone: then its files are
/// neither recorded nor known, and all is forgotten here.
#[derive(Default)]
pub(super) struct KnownDirectories(HashSet<Key>);

impl KnownDirectories {
    pub(super) fn add(&mut self, directories: &Directories<'_>) {
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        self.0.extend(directories.keys());
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
