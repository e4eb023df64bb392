//! Borderless tables: two-space gutters, upper-case headers, numbers to the right. Narrow terminals
//! lose columns in a declared order; a pipe loses nothing.

/// Which side a column leans to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) align: Align,
    /// Columns with the highest number go first on a narrow terminal; 0 stays.
    pub(crate) drop: u8,
}

/// Rows under columns, after a mark that may be coloured.
pub(crate) fn render(
    columns: &[Column],
    rows: &[(String, Vec<String>)],
    width: Option<usize>,
) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|(_, cells)| cells.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(column.name.len())
        })
        .collect();
    let kept = kept(columns, &widths, width);
    let line = |mark: &str, cell: &dyn Fn(usize) -> String| {
        let cells = kept.iter().map(|at| {
            let (text, wide) = (cell(*at), widths[*at]);
            match columns[*at].align {
                Align::Left => format!("{text:wide$}"),
                Align::Right => format!("{text:>wide$}"),
            }
        });
        let cells: Vec<_> = cells.collect();
        format!("{}\n", format!("{mark}  {}", cells.join("  ")).trim_end())
    };
    let mut text = line(" ", &|at| columns[at].name.to_owned());
    for (mark, cells) in rows {
        text.push_str(&line(mark, &|at| cells.get(at).cloned().unwrap_or_default()));
    }
    text
}

/// The columns that fit.
fn kept(columns: &[Column], widths: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let Some(width) = width else { return kept };
    loop {
        let wide: usize = 1 + kept.iter().map(|at| widths[*at] + 2).sum::<usize>();
        let next = kept.iter().copied().filter(|at| columns[*at].drop > 0);
        match next.max_by_key(|at| columns[*at].drop) {
            Some(at) if wide > width => kept.retain(|kept| *kept != at),
            Some(_) | None => return kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { name: "RELAY", align: Align::Left, drop: 0 },
        Column { name: "STORED", align: Align::Right, drop: 1 },
        Column { name: "NOTE", align: Align::Left, drop: 2 },
    ];

    fn rows() -> Vec<(String, Vec<String>)> {
        let row = |mark: &str, cells: [&str; 3]| (mark.into(), cells.map(String::from).to_vec());
        vec![row("*", ["a.example", "75,001", ""]), row("!", ["b", "1", "retry in 7s"])]
    }

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_spaces() {
        let text = "   RELAY      STORED  NOTE\n\
                    *  a.example  75,001\n\
                    !  b               1  retry in 7s\n";
        assert_eq!(render(&COLUMNS, &rows(), None), text);
    }

    #[test]
    fn a_narrow_terminal_loses_columns_in_the_declared_order() {
        let head = |width| {
            let text = render(&COLUMNS, &rows(), Some(width));
            text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(head(40), "RELAY STORED NOTE");
        assert_eq!(head(30), "RELAY STORED");
        assert_eq!(head(13), "RELAY");
        assert_eq!(head(1), "RELAY");
    }
}
