//! A table that fits the terminal: whole columns as far as they go, and what does not go beside them beneath.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};

/// Columns between two columns of a table.
const GAP: u16 = 2;
/// The least that words, which stand last, are cut to beside the other columns. With less they go beneath them.
const WORDS: u16 = 30;
/// What goes beneath is set in by so much.
const INDENT: &str = "  ";

/// Draws rows of one line a cell. The first column is never cut, for it is what the next command is given; the others are not either, but
/// go beneath their row where the terminal is too narrow. Only what comes last, which is words of any length, is cut.
pub(super) fn table(header: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let Some(width) = width else { return draw(header, rows, None).trim_fmt() };
    let widths = draw(header, rows, None).column_max_content_widths();
    let fits = |columns: usize| {
        let taken =
            widths.iter().take(columns).fold(0_u16, |sum, width| sum.saturating_add(*width).saturating_add(GAP));
        taken.saturating_sub(GAP)
    };
    let (all, others) = (widths.len(), widths.len().saturating_sub(1));
    if fits(all) <= width || fits(others).saturating_add(GAP + WORDS) <= width {
        return draw(header, rows, Some(width)).trim_fmt();
    }
    let beside = (1..all).take_while(|&columns| fits(columns) <= width).last().unwrap_or(1);
    let above: Vec<Vec<String>> = rows.iter().map(|row| row.iter().take(beside).cloned().collect()).collect();
    let drawn = draw(&header[..beside.min(header.len())], &above, None).trim_fmt();
    let mut lines: Vec<String> = Vec::new();
    for (n, line) in drawn.lines().enumerate() {
        lines.push(line.to_owned());
        // The first line is the header's.
        if let Some(row) = n.checked_sub(1).and_then(|n| rows.get(n)) {
            lines.extend(beneath(header, row, beside, width));
        }
    }
    lines.join("\n")
}

/// The cells of a row that had no room beside the others: each with what it is, but for the last.
fn beneath(header: &[&str], row: &[String], beside: usize, width: u16) -> Option<String> {
    let last = row.len().saturating_sub(1);
    let said = row.iter().enumerate().skip(beside).filter(|(_, cell)| !cell.is_empty()).map(|(n, cell)| {
        if n == last { cell.clone() } else { format!("{} {cell}", header.get(n).copied().unwrap_or_default()) }
    });
    let said = said.collect::<Vec<_>>().join(", ");
    if said.is_empty() {
        return None;
    }
    let room = width.saturating_sub(u16::try_from(INDENT.len()).unwrap_or_default());
    let mut table = bare();
    table.add_row(one_line([said]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 0));
    }
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(room);
    Some(format!("{INDENT}{}", table.trim_fmt()))
}

/// A table in which only the last column is cut, to a width.
fn draw(header: &[&str], rows: &[Vec<String>], width: Option<u16>) -> Table {
    let mut table = bare();
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(one_line(row.clone()));
    }
    let whole = header.len().saturating_sub(1);
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if n == whole { 0 } else { GAP }));
        if n < whole {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_truncation_indicator("…");
    table
}

fn one_line(cells: impl IntoIterator<Item = String>) -> Row {
    let mut row = Row::from(cells.into_iter().collect::<Vec<_>>());
    row.max_height(1);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01993c5e-7a00-7cc3-8c4e-0a8b7d6f1e2d";

    fn row(error: &str) -> Vec<String> {
        [ID, "grant_purchase", "dead", "3m ago", error].map(str::to_owned).into()
    }

    #[test]
    fn a_table_fits_the_terminal_and_cuts_nothing_but_words() {
        let error = "the price paid is not one of ours, and neither is its amount: €9.99 日本".repeat(3);
        let (header, rows) = (["id", "kind", "state", "runs", "why"], [row(&error), row(""), row(&error)]);
        for (width, lines) in [(80, 6), (100, 4), (132, 4), (60, 7), (40, 7)] {
            let drawn = table(&header, &rows, Some(width));
            assert_eq!(drawn.lines().count(), lines, "{drawn}");
            assert_eq!(drawn.lines().filter(|line| line.starts_with(ID)).count(), 3, "{drawn}");
            assert!(drawn.lines().all(|line| line.chars().count() <= width.into()), "{drawn}");
        }
        let drawn = table(&header, &rows[..1], Some(80));
        assert!(drawn.contains("grant_purchase  dead   3m ago\n  the price paid is not one of ours"), "{drawn}");
        assert!(drawn.ends_with('…'), "{drawn}");
        let narrow = table(&header, &rows[1..2], Some(56));
        assert!(narrow.ends_with("grant_purchase\n  state dead, runs 3m ago"), "{narrow}");
        assert!(table(&header, &rows, None).contains(&error));
    }

    #[test]
    fn what_fits_stays_on_its_line() {
        let rows = [vec!["evt_1".to_owned(), "x".repeat(60), "cs_1".to_owned()]];
        let drawn = table(&["id", "type", "object"], &rows, Some(80));
        assert_eq!(drawn.lines().count(), 2, "{drawn}");
    }
}
