//! A table of words as a file, made where it is shown.

use super::sheet::{Cell, Table};
use crate::lang::t;

/// The table as CSV (RFC 4180): a column for what each cell says, and one for what stands under it where anything does.
pub(crate) fn csv(table: &Table) -> String {
    let mut out = String::new();
    line(&mut out, heads(table).into_iter());
    for row in &table.rows {
        let cells = (0..table.heads.len()).flat_map(|at| cell(table, row, at));
        line(&mut out, cells);
    }
    out
}

/// The table as JSON: a list of objects with the headings as names.
pub(crate) fn json(table: &Table) -> String {
    let heads = heads(table);
    let row = |row: &Vec<Cell>| {
        let cells: Vec<String> = (0..table.heads.len()).flat_map(|at| cell(table, row, at)).collect();
        let pairs: Vec<String> =
            heads.iter().zip(&cells).map(|(head, cell)| format!("{}:{}", quoted(head), quoted(cell))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    format!("[{}]", table.rows.iter().map(row).collect::<Vec<_>>().join(",\n"))
}

fn has_more(table: &Table, at: usize) -> bool {
    table.rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.under.is_empty()))
}

fn heads(table: &Table) -> Vec<String> {
    let mut heads = Vec::new();
    for (at, head) in table.heads.iter().enumerate() {
        heads.push((*head).to_owned());
        if has_more(table, at) {
            heads.push(t!(column_more, head));
        }
    }
    heads
}

fn cell(table: &Table, row: &[Cell], at: usize) -> Vec<String> {
    let cell = row.get(at).cloned().unwrap_or_default();
    if has_more(table, at) { vec![cell.says, cell.under] } else { vec![cell.says] }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(',');
        }
        // Spreadsheets compute what begins like this.
        let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        out.push_str(&format!("\"{guard}{}\"", cell.replace('"', "\"\"")));
    }
    out.push_str("\r\n");
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    fn table() -> Table {
        let row = |name: &str, under: &str, n: &str| vec![Cell::of(name).under(under), Cell::of(n)];
        Table {
            label: "Holders".to_owned(),
            heads: vec!["Holder", "Locks"],
            rows: vec![row("web-1, \"a\"", "one hold", "3"), row("=cmd()", "", "1")],
        }
    }

    #[test]
    fn a_table_is_the_same_in_either_form() {
        assert_eq!(
            csv(&table()),
            "\"Holder\",\"Holder, more\",\"Locks\"\r\n\"web-1, \"\"a\"\"\",\"one hold\",\"3\"\r\n\"'=cmd()\",\"\",\"1\"\r\n"
        );
        let read = parse(&format!("{{\"rows\":{}}}", json(&table()))).unwrap();
        let first = &read.items("rows")[0];
        assert_eq!(
            (first.text("Holder"), first.text("Holder, more"), first.text("Locks")),
            ("web-1, \"a\"", "one hold", "3")
        );
        assert_eq!(read.items("rows")[1].text("Holder"), "=cmd()");
    }
}
