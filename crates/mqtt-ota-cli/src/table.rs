//! Table with aligned columns.

use unicode_width::UnicodeWidthStr as _;

use crate::line::Line;
use crate::printer::Printer;
use crate::sanitize;

/// Space between two columns, in characters.
const GAP: usize = 2;

/// Prints the rows, of which the first contains the titles. On a terminal that is too narrow, columns whose titles are
/// `dispensable` are left out: first the empty ones, and then as many others as necessary.
pub(crate) fn print<const N: usize>(printer: &Printer, rows: Vec<[String; N]>, dispensable: &[&str]) {
    let mut columns = columns(rows);
    let left_out = printer.width().map_or_else(Vec::new, |width| fit(&mut columns, width, dispensable));
    for (index, line) in lines(&columns).iter().enumerate() {
        let line = if index == 0 { Line::new().strong(line) } else { Line::new().plain(line) };
        printer.data(&line);
    }
    if !left_out.is_empty() {
        let what = format!("no room for {}: --json has them", left_out.join(", "));
        printer.note(&Line::new().faint(what));
    }
}

/// Column with its cells, of which the first is the title, and its width.
struct Column {
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn title(&self) -> &str {
        self.cells.first().map_or("", String::as_str)
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().skip(1).all(|cell| matches!(cell.as_str(), "" | "-"))
    }
}

fn columns<const N: usize>(rows: Vec<[String; N]>) -> Vec<Column> {
    let mut columns: Vec<_> = (0..N).map(|_| Column { cells: Vec::new(), width: 0 }).collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            let cell = sanitize::for_terminal(&cell).into_owned();
            column.width = column.width.max(cell.width());
            column.cells.push(cell);
        }
    }
    columns
}

/// Removes dispensable columns until the others fit. Returns the titles of the removed columns that were not empty.
fn fit(columns: &mut Vec<Column>, width: usize, dispensable: &[&str]) -> Vec<String> {
    let is_too_wide = |columns: &[Column]| {
        columns.iter().map(|column| column.width + GAP).sum::<usize>().saturating_sub(GAP) > width
    };
    let mut left_out = Vec::new();
    for only_empty in [true, false] {
        for title in dispensable {
            let found = columns.iter().position(|column| column.title() == *title);
            let Some(found) = found.filter(|_| is_too_wide(columns)) else { continue };
            if columns.get(found).is_some_and(Column::is_empty) {
                columns.remove(found);
            } else if !only_empty {
                columns.remove(found);
                left_out.push((*title).to_owned());
            }
        }
    }
    left_out
}

fn lines(columns: &[Column]) -> Vec<String> {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let mut lines = vec![String::new(); rows];
    for Column { cells, width } in columns {
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + GAP));
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_is_in_them() {
        let rows = [["NAME", "SYSTEM"], ["ランプ", "esp8266"], ["A\u{1b}[2J", ""]];
        let lines = lines(&columns(rows.map(|row| row.map(str::to_owned)).to_vec()));
        assert_eq!(lines, ["NAME        SYSTEM", "ランプ      esp8266", "A\\u{1b}[2J"]);
    }

    #[test]
    fn a_narrow_terminal_has_the_columns_that_matter_most() {
        let table = |width| {
            let rows =
                [["NAME", "HEARD", "SYSTEM", "HASHES"], ["LAMP", "-", "esp8266 1.25.0", "sha1,sha256"]];
            let mut columns = columns(rows.map(|row| row.map(str::to_owned)).to_vec());
            let left_out = fit(&mut columns, width, &["HASHES", "SYSTEM", "HEARD"]);
            (lines(&columns).join("\n"), left_out)
        };
        assert!(table(100).0.contains("HEARD") && table(100).1.is_empty());
        assert_eq!(table(35).0, "NAME  SYSTEM          HASHES\nLAMP  esp8266 1.25.0  sha1,sha256");
        assert_eq!(table(32).1, ["HASHES"]);
        assert_eq!(table(1).0, "NAME\nLAMP");
        assert_eq!(table(1).1, ["HASHES", "SYSTEM"]);
    }
}
