//! Tables: which columns there is room for, how wide each is, and rows under each other.

use textwrap::core::display_width;

use super::screen::{Look, Tone};

/// Spaces between two columns.
const GAP: usize = 2;

/// A column that is narrowed keeps at least this many columns of the terminal: enough to tell one token from another.
const NARROWEST: usize = 14;

/// The head of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// What stands over it.
    pub(super) title: &'static str,
    /// Where there is no room for all, those with the highest number are left out; 0 never is.
    pub(super) rank: u8,
}

/// What stands in a column of a row; harmless already.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tone: Tone::Plain }
    }
}

impl From<(String, Tone)> for Cell {
    fn from((text, tone): (String, Tone)) -> Cell {
        Cell { text, tone }
    }
}

/// The rows under the heads of their columns, within the width if there is one. A column in which nothing stands is left
/// out.
pub(super) fn table(columns: &[Column], rows: &[Vec<Cell>], look: Look) -> String {
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| match rows.iter().map(|row| display_width(&row[at].text)).max().unwrap_or(0) {
            0 if column.rank > 0 => 0,
            widest => widest.max(display_width(column.title)),
        })
        .collect();
    let widths = fit(columns, &natural, look.width);
    let shown: Vec<usize> = (0..columns.len()).filter(|at| widths[*at] > 0).collect();
    let line = |cell: &dyn Fn(usize) -> (String, Tone)| {
        let mut line = String::new();
        for (nth, &at) in shown.iter().enumerate() {
            let (text, tone) = cell(at);
            let text = cut(&text, widths[at]);
            line.push_str(&look.paint(&text, tone));
            if nth + 1 < shown.len() {
                line.push_str(&" ".repeat(widths[at].saturating_sub(display_width(&text)) + GAP));
            }
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut out = line(&|at| (columns[at].title.to_owned(), Tone::Strong));
    out.extend(rows.iter().map(|row| line(&|at| (row[at].text.clone(), row[at].tone))));
    out
}

/// How wide each column is; 0: left out. The least important go first, and then the widest are narrowed.
fn fit(columns: &[Column], natural: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut widths = natural.to_vec();
    let Some(width) = width else { return widths };
    let total = |widths: &[usize]| {
        let shown = widths.iter().filter(|width| **width > 0).count();
        widths.iter().sum::<usize>() + shown.saturating_sub(1) * GAP
    };
    let narrowest = |widths: &[usize]| widths.iter().map(|width| (*width).min(NARROWEST)).collect::<Vec<_>>();
    while total(&narrowest(&widths)) > width {
        let last = (0..columns.len()).filter(|at| widths[*at] > 0).max_by_key(|at| columns[*at].rank);
        match last.filter(|at| columns[*at].rank > 0) {
            Some(at) => widths[at] = 0,
            None => break,
        }
    }
    while total(&widths) > width {
        let Some(widest) = widths.iter_mut().max() else { break };
        if *widest <= 1 {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// The beginning of a text that takes at most this many columns; what was left out is an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if display_width(&kept) >= width {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] =
        [Column { title: "LOCK", rank: 0 }, Column { title: "HELD BY", rank: 1 }, Column { title: "SOURCE", rank: 2 }];

    fn rows(rows: &[[&str; 3]]) -> Vec<Vec<Cell>> {
        rows.iter().map(|row| row.iter().map(|text| (*text).to_owned().into()).collect()).collect()
    }

    fn at(width: usize) -> Look {
        Look { width: Some(width), colours: false }
    }

    #[test]
    fn columns_stand_under_each_other_by_what_they_take_on_the_screen() {
        let said = table(&COLUMNS, &rows(&[["stock:4711", "worker", "orders"], ["錠前", "w", "b"]]), at(80));
        assert_eq!(said, "LOCK        HELD BY  SOURCE\nstock:4711  worker   orders\n錠前        w        b\n");
    }

    #[test]
    fn the_least_important_columns_go_first_and_then_the_widest_is_cut() {
        let rows = rows(&[["stock:4711", "a-holder-with-a-long-name", "a-source-with-a-long-name"]]);
        let narrow = table(&COLUMNS, &rows, at(32));
        assert_eq!(narrow, "LOCK        HELD BY\nstock:4711  a-holder-with-a-lon…\n");
        let narrower = table(&COLUMNS, &rows, at(8));
        assert_eq!(narrower, "LOCK\nstock:4…\n");
        let unbounded = table(&COLUMNS, &rows, Look::PLAIN);
        assert!(unbounded.contains("a-source-with-a-long-name"), "{unbounded}");
    }

    #[test]
    fn whatever_stands_in_it_no_line_is_wider_than_the_terminal() {
        let wide = "錠é\u{301}x".repeat(30);
        for width in 4..120 {
            let said = table(&COLUMNS, &rows(&[[&wide, &wide, &wide]]), at(width));
            assert!(said.lines().all(|line| display_width(line) <= width), "{width}: {said}");
        }
    }

    #[test]
    fn a_column_in_which_nothing_stands_is_left_out() {
        let said = table(&COLUMNS, &rows(&[["a", "", "s"]]), at(80));
        assert_eq!(said, "LOCK  SOURCE\na     s\n");
    }

    #[test]
    fn colours_take_no_room() {
        let painted = vec![vec![("ok".to_owned(), Tone::Good).into(), "b".to_owned().into(), "c".to_owned().into()]];
        let said = table(&COLUMNS, &painted, Look { width: Some(80), colours: true });
        assert!(said.ends_with("\u{1b}[32mok\u{1b}[0m    b        c\n"), "{said:?}");
    }
}
