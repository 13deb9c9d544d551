//! The zips of the demo: MRO measurement reports as base stations deliver them, exported into the servers'
//! directories one after the other.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::fleet::Fleet;
use crate::place::Place;

/// From one new zip to the next, on whichever server.
const PACE: Duration = Duration::from_millis(400);
/// Base stations of each server at the start.
const FIRST_STATIONS: u32 = 2;
/// One zip in so many comes from a base station that nobody has seen before, with a directory of its own.
const NEW_STATION: u64 = 12;
/// One report in so many is never written, which the service notices once it knows the rhythm.
const MISSED_PERIOD: u64 = 60;
/// Reports of the one base station behind the last server but one, enough for its rhythm to be known at once.
const FIRST_REPORTS: u32 = 5;
/// The zip before which that base station misses a period, some seconds after the start: nobody makes up for it.
const EARLY_GAP: u64 = 25;
/// What one report covers.
const PERIOD: TimeDelta = TimeDelta::minutes(15);
/// Measured user positions in one report: some KB of zip.
const FEWEST_SAMPLES: u64 = 200;
const MORE_SAMPLES: u64 = 300;

const VENDORS: [&str; 5] = ["HUAWEI", "ZTE", "ERICSSON", "NOKIA", "DATANG"];

/// The zips made so far.
#[derive(Debug, Clone, Default)]
pub struct Made(Arc<AtomicU64>);

impl Made {
    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Exports zips into the directories of all servers.
#[derive(Debug)]
pub struct Exporter {
    omcs: Vec<Omc>,
    /// Has one base station, one of whose reports is missing for good.
    gappy: Option<Omc>,
    /// Delivers nothing any more, once it was filled.
    quiet: Option<Omc>,
    workshop: PathBuf,
    chance: Chance,
    exported: u64,
    made: Made,
}

/// The management centre behind one server.
#[derive(Debug)]
struct Omc {
    name: String,
    vendor: &'static str,
    directory: PathBuf,
    stations: Vec<Station>,
}

#[derive(Debug)]
struct Station {
    enodeb: u64,
    /// When its next report begins.
    next: DateTime<Utc>,
}

impl Exporter {
    /// An exporter that has made nothing yet.
    pub fn new(place: &Place, fleet: &Fleet) -> Self {
        let omc = |((name, _), vendor): ((&str, _), &&'static str)| Omc {
            name: name.to_uppercase(),
            vendor,
            directory: place.served(name),
            stations: Vec::new(),
        };
        let mut omcs: Vec<Omc> = fleet.servers().zip(VENDORS.iter().cycle()).map(omc).collect();
        let (quiet, gappy) = (omcs.pop(), omcs.pop());
        let (workshop, chance, made) = (place.workshop(), Chance::new(), Made::default());
        Self { omcs, gappy, quiet, workshop, chance, exported: 0, made }
    }

    /// The counter of what is made.
    pub fn made(&self) -> Made {
        self.made.clone()
    }

    /// Makes what lies on the servers when the curtain rises.
    pub fn fill(&mut self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.workshop)?;
        let (stations, reports) = (FIRST_STATIONS, FIRST_REPORTS);
        let fleet = self.omcs.iter_mut().chain(&mut self.quiet).map(|omc| (omc, stations, 1));
        for (omc, stations, reports) in fleet.chain(self.gappy.iter_mut().map(|omc| (omc, 1, reports))) {
            for _ in 0..stations {
                let mut station = Station::new(&mut self.chance);
                for _ in 0..reports {
                    let report = station.report(omc.vendor, &omc.name, &mut self.chance);
                    report.export(&self.workshop, &omc.directory)?;
                    self.made.0.fetch_add(1, Ordering::Relaxed);
                }
                omc.stations.push(station);
            }
        }
        Ok(())
    }

    /// Makes one zip after the other, for ever.
    pub async fn keep_exporting(mut self) {
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            if let Err(error) = self.export_one() {
                crate::say(&format!("demo: cannot make a zip: {error:#}"));
            }
        }
    }

    /// Some milliseconds of work.
    fn export_one(&mut self) -> anyhow::Result<()> {
        let Self { omcs, gappy, quiet: _, workshop, chance, exported, made } = self;
        *exported += 1;
        let early_gap = *exported == EARLY_GAP;
        let turn = early_gap || chance.below(omcs.len() as u64 + 1) == 0;
        let omc = match gappy.as_mut().filter(|_| turn) {
            Some(omc) => omc,
            None => {
                let omc = chance.pick(omcs).context("there are no servers")?;
                if chance.below(NEW_STATION) == 0 {
                    omc.stations.push(Station::new(chance));
                }
                omc
            }
        };
        let station = chance.pick(&mut omc.stations).context("there are no base stations")?;
        if early_gap || chance.below(MISSED_PERIOD) == 0 {
            station.next += PERIOD;
        }
        let report = station.report(omc.vendor, &omc.name, chance);
        report.export(workshop, &omc.directory)?;
        made.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Station {
    /// A base station whose first report is from shortly before midnight: soon there is a directory for a new date.
    fn new(chance: &mut Chance) -> Self {
        let midnight = Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        Self { enodeb: 400_000 + chance.below(100_000), next: midnight - PERIOD }
    }

    fn report(&mut self, vendor: &str, omc: &str, chance: &mut Chance) -> Report {
        let (enodeb, begins) = (self.enodeb, self.next);
        self.next += PERIOD;
        let directory = format!("{enodeb}/{}", begins.format("%Y%m%d"));
        let stem = format!("TD-LTE_MRO_{vendor}_{omc}_{enodeb}_{}", begins.format("%Y%m%d%H%M%S"));
        Report { directory, stem, content: measurements(enodeb, begins, chance) }
    }
}

/// One report on its way to a server.
struct Report {
    directory: String,
    stem: String,
    content: String,
}

impl Report {
    /// Zips the report and lets it appear below `root` as a whole.
    fn export(&self, workshop: &std::path::Path, root: &std::path::Path) -> anyhow::Result<()> {
        let Self { directory, stem, content } = self;
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(format!("{stem}.xml"), SimpleFileOptions::default())?;
        archive.write_all(content.as_bytes())?;
        let bytes = archive.finish()?.into_inner();
        let (draft, home) = (workshop.join(stem), root.join(directory));
        std::fs::write(&draft, bytes)?;
        std::fs::create_dir_all(&home)?;
        Ok(std::fs::rename(&draft, home.join(format!("{stem}.zip")))?)
    }
}

/// A report in the shape of the operators' northbound interface: for each position of a phone, how well it hears
/// its own cell and a neighbour.
fn measurements(enodeb: u64, begins: DateTime<Utc>, chance: &mut Chance) -> String {
    let shown = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    let (start, end) = (shown(begins), shown(begins + PERIOD));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<bulkPmMrDataFile>\n\
         <fileHeader fileFormatVersion=\"V1.0.0\" startTime=\"{start}\" endTime=\"{end}\" period=\"0\"/>\n\
         <eNB id=\"{enodeb}\">\n<measurement>\n\
         <smr>MR.LteScRSRP MR.LteNcRSRP MR.LteScRSRQ MR.LteNcRSRQ MR.LteScEarfcn MR.LteScPci MR.LteNcPci \
         MR.LteScTadv MR.LteScSinrUL</smr>\n"
    );
    for _ in 0..FEWEST_SAMPLES + chance.below(MORE_SAMPLES) {
        let (cell, user) = (enodeb * 256 + chance.below(3), chance.below(1 << 31));
        let time = shown(begins + TimeDelta::milliseconds(i64::try_from(chance.below(900_000)).unwrap_or(0)));
        let (own, neighbour) = (20 + chance.below(60), 10 + chance.below(50));
        let [own_quality, neighbour_quality, own_cell, neighbour_cell, advance, noise] =
            [34, 34, 504, 504, 1283, 36].map(|values| chance.below(values));
        // writing to a String cannot fail
        writeln!(
            xml,
            "<object id=\"{cell}\" MmeUeS1apId=\"{user}\" TimeStamp=\"{time}\"><v>{own} {neighbour} {own_quality} \
             {neighbour_quality} 37900 {own_cell} {neighbour_cell} {advance} {noise}</v></object>"
        )
        .ok();
    }
    xml.push_str("</measurement>\n</eNB>\n</bulkPmMrDataFile>\n");
    xml
}

/// Chance enough for a demo (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// From 0 to `limit` - 1.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a mut [T]) -> Option<&'a mut T> {
        let number = self.below(from.len() as u64);
        from.get_mut(usize::try_from(number).ok()?)
    }
}
