//! What each load costs each proxy, as bars: a panel for each group of loads, in two columns.

use std::fmt::Write as _;

use super::{Report, Row, short};
use crate::figures::COSTS;
use crate::loads::PANELS;

/// Ours, and then the others as they are named in the report.
const COLOURS: [&str; 5] = ["#0b6e4f", "#6c8ebf", "#d79b00", "#9673a6", "#b5b5b5"];

/// Lengths, pixels.
const WIDTH: usize = 520;
const MARGIN: usize = 20;
const BAR: usize = 11;
const LINE: usize = 15;
const LONGEST: f64 = 330.0;
const NAME: usize = 56;

/// A row of bars.
struct Bars<'a> {
    row: &'a Row,
    figure: &'a str,
    /// The colour and name of its proxy, its value, and how much more than its base it is.
    bars: Vec<(usize, &'a str, f64, Option<f64>)>,
}

impl Report {
    pub(super) fn picture(&self) -> String {
        let mut columns = [MARGIN + 54; 2];
        let mut body = String::new();
        for (panel, title) in PANELS {
            let rows = self.bars(panel);
            if rows.is_empty() {
                continue;
            }
            let column = usize::from(columns[1] < columns[0]);
            draw(&mut body, title, &rows, MARGIN + column * WIDTH, &mut columns[column]);
        }
        let (width, height) = (MARGIN + 2 * WIDTH, columns[0].max(columns[1]) + MARGIN);
        let legend: String = self.proxies.iter().enumerate().map(|(index, proxy)| {
            let (x, colour) = (MARGIN + index * 110, COLOURS[index % COLOURS.len()]);
            format!(
                "<rect x=\"{x}\" y=\"58\" width=\"11\" height=\"11\" fill=\"{colour}\"/><text x=\"{}\" y=\"68\">{}</text>\n",
                x + 16,
                escaped(&proxy.name)
            )
        }).collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{MARGIN}\" y=\"28\" font-size=\"16\">What each load costs each proxy; shorter is better</text>\n\
             <text x=\"{MARGIN}\" y=\"46\" fill=\"#666\">{}, {}, {} CPUs, Linux {}, {}; medians. A percentage is what is added to \
             the least load of its kind.</text>\n{legend}{body}</svg>\n",
            self.date,
            escaped(&self.machine.cpu),
            self.machine.cpus,
            escaped(&self.machine.kernel),
            escaped(&self.machine.congestion)
        )
    }

    /// The rows of a panel that have a cost.
    fn bars(&self, panel: &str) -> Vec<Bars<'_>> {
        let mut rows = Vec::new();
        for row in self.loads.iter().filter(|row| row.panel == panel) {
            for (figure, _) in self.names(&row.name).into_iter().filter(|(figure, _)| COSTS.contains(figure)) {
                let bar = |(index, proxy): (usize, &'_ super::Contestant)| {
                    let name = self.proxies[index].name.as_str();
                    let value = self.median(&row.name, figure, &proxy.name).filter(|value| value.is_finite())?;
                    Some((index, name, value, self.growth(row, figure, &proxy.name)))
                };
                let bars = self.proxies.iter().enumerate().filter_map(bar).collect();
                rows.push(Bars { row, figure, bars });
            }
        }
        rows
    }
}

/// Draws a panel at `x`, and moves `y` below it. Rows of one unit have one scale.
fn draw(out: &mut String, title: &str, rows: &[Bars<'_>], x: usize, y: &mut usize) {
    let most = |figure: &str| {
        let values = rows.iter().filter(|row| row.figure == figure).flat_map(|row| &row.bars);
        values.map(|(_, _, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max)
    };
    *y += 2 * LINE;
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" font-size=\"14\" font-weight=\"bold\">{}</text>", escaped(title));
    for Bars { row, figure, bars } in rows {
        *y += LINE + 4;
        let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\">{}: {}</text>", escaped(&row.title), escaped(figure));
        *y += 4;
        for (index, proxy, value, more) in bars {
            let long = (value.max(0.0) / most(figure) * LONGEST).round().max(1.0);
            let more = more.map(|more| format!(" ({more:+.0} %)")).unwrap_or_default();
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" fill=\"#666\" font-size=\"9\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{}\" y=\"{y}\" width=\"{long}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{}\" font-size=\"10\">{}{more}</text>",
                x + NAME - 6,
                *y + BAR - 3,
                escaped(proxy),
                x + NAME,
                BAR - 2,
                COLOURS[index % COLOURS.len()],
                x as f64 + NAME as f64 + long + 4.0,
                *y + BAR - 2,
                short(*value),
            );
            *y += BAR;
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
