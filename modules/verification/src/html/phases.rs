//! The drill's timeline: each phase as a bar where and as long as it was.

use super::escape::escape;
use super::titled;
use crate::words::duration;
use crate::{Phase, Report};

/// The bars' field is so many units wide.
const WIDTH: f64 = 1000.0;
/// A shorter bar would not be seen.
const LEAST: f64 = 3.0;
/// Not more lines than this on the scale.
const LINES: f64 = 5.0;

/// The section; nothing when no phase is on record.
pub(super) fn section(report: &Report) -> String {
    if report.phases.is_empty() {
        return String::new();
    }
    let ends = report.phases.iter().map(|phase| phase.begin + phase.seconds);
    let whole = ends.fold(report.seconds(), f64::max).max(0.001);
    let lines = scale(whole);
    let rows: String = report.phases.iter().map(|phase| row(phase, whole, &lines)).collect();
    let labels: String = lines
        .iter()
        .map(|at| format!("<span style=\"left:{:.2}%\">{}</span>", at / whole * 100.0, tick(*at)))
        .collect();
    let table = format!(
        "<table class=\"phases\">\n<thead><tr><th scope=\"col\">Phase</th>\
         <th scope=\"col\" class=\"scale\"><span class=\"unseen\">When</span><span aria-hidden=\"true\">{labels}</span></th>\
         <th scope=\"col\" class=\"number\">Time</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         <tfoot><tr><th scope=\"row\" colspan=\"2\">Drill in all</th><td class=\"number\">{}</td></tr></tfoot>\n</table>\n",
        duration(report.seconds())
    );
    titled("timeline", "Timeline of the drill", &table)
}

/// A round time, without what is zero in it.
fn tick(seconds: f64) -> String {
    match seconds {
        // A sum of steps such as 0.2 is not always what it would be on paper.
        0.0..60.0 => format!("{} s", (seconds * 100.0).round() / 100.0),
        60.0..7200.0 => format!("{} min", seconds / 60.0),
        _ => format!("{} h", seconds / 3600.0),
    }
}

fn row(phase: &Phase, whole: f64, lines: &[f64]) -> String {
    let begin = phase.begin.clamp(0.0, whole);
    let width = (phase.seconds.max(0.0) / whole * WIDTH).clamp(LEAST, WIDTH);
    let x = (begin / whole * WIDTH).min(WIDTH - width);
    let grid: String = lines
        .iter()
        .map(|at| {
            let x = at / whole * WIDTH;
            format!("<path d=\"M{x:.1} 0V20\"/>")
        })
        .collect();
    let class = match phase.name.as_str() {
        "prepare" | "materialise" | "start" | "recover" => "way",
        "teardown" => "end",
        _ => "check",
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td><span class=\"unseen\">from {} on</span>\
         <svg viewBox=\"0 0 1000 20\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{grid}\
         <rect class=\"{class}\" x=\"{x:.1}\" y=\"3\" width=\"{width:.1}\" height=\"14\"/></svg></td>\
         <td class=\"number\">{}</td></tr>\n",
        escape(&super::verdict::title(&phase.name)),
        duration(begin),
        duration(phase.seconds)
    )
}

/// Where the lines are, in seconds: round numbers, the first at 0. Those too near the end have no room for their label.
fn scale(whole: f64) -> Vec<f64> {
    let steps = [
        0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
        600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0,
    ];
    let step = steps.into_iter().find(|step| whole / step <= LINES).unwrap_or(whole / 2.0);
    (0..=5u32).map(|number| f64::from(number) * step).filter(|at| *at <= whole * 0.92).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_round() {
        assert_eq!(scale(3.2), [0.0, 1.0, 2.0]);
        assert_eq!(scale(45.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(scale(0.001), [0.0]);
        assert_eq!(scale(1e9).len(), 2);
        assert_eq!(tick(scale(0.7)[3]), "0.6 s");
        let said = [0.0, 0.05, 20.0, 60.0, 1800.0, 7200.0].map(tick);
        assert_eq!(said, ["0 s", "0.05 s", "20 s", "1 min", "30 min", "2 h"]);
    }

    #[test]
    fn a_bar_stays_in_its_field() {
        let phase = |begin, seconds| Phase { name: "start".into(), begin, seconds };
        assert!(row(&phase(0.0, 0.0), 4.0, &[]).contains("x=\"0.0\" y=\"3\" width=\"3.0\""));
        assert!(row(&phase(4.0, 0.0), 4.0, &[]).contains("x=\"997.0\" y=\"3\" width=\"3.0\""));
        assert!(row(&phase(1.0, 2.0), 4.0, &[]).contains("x=\"250.0\" y=\"3\" width=\"500.0\""));
        assert!(row(&phase(-1.0, 9.0), 4.0, &[]).contains("x=\"0.0\" y=\"3\" width=\"1000.0\""));
    }
}
