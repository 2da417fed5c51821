//! Makes the page of a report: `cargo run -p verification --example report -- report.json report.html`.

use std::error::Error;
use std::fs;

use verification::{Report, html};

fn main() -> Result<(), Box<dyn Error>> {
    let mut names = std::env::args().skip(1);
    let (Some(json), Some(page)) = (names.next(), names.next()) else {
        return Err("usage: report <report.json> <report.html>".into());
    };
    let report: Report = serde_json::from_slice(&fs::read(json)?)?;
    fs::write(page, html(&report))?;
    Ok(())
}
