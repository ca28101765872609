//! Columns that stand below each other.

use unicode_width::UnicodeWidthStr as _;

use crate::line::Line;
use crate::printer::Printer;
use crate::sanitize;

/// Prints the rows, the first of which are the titles.
pub(crate) fn print<const N: usize>(printer: &Printer, rows: Vec<[String; N]>) {
    for (index, line) in aligned(rows).iter().enumerate() {
        let line = if index == 0 { Line::new().strong(line) } else { Line::new().plain(line) };
        printer.data(&line);
    }
}

fn aligned<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let rows: Vec<_> =
        rows.into_iter().map(|row| row.map(|cell| sanitize::for_terminal(&cell).into_owned())).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_is_in_them() {
        let rows = [["NAME", "SYSTEM"], ["ランプ", "esp8266"], ["A\u{1b}[2J", ""]];
        let lines = aligned(rows.map(|row| row.map(str::to_owned)).to_vec());
        assert_eq!(lines, ["NAME        SYSTEM", "ランプ      esp8266", "A\\u{1b}[2J"]);
    }
}
