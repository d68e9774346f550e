//! How a person wants the table to look: which columns, and how dense. Kept in the browser, as it is a matter of taste
//! and not of what is asked.

/// Where it is kept.
pub(crate) const KEPT_AS: &str = "lockkeeper-table";

/// How the table looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Rows of one line.
    pub(crate) compact: bool,
    /// The columns that are not shown, by their words.
    pub(crate) hidden: Vec<String>,
}

impl Look {
    /// Reads what was kept: words with spaces between.
    pub(crate) fn read(kept: &str) -> Look {
        let mut look = Look::default();
        for word in kept.split_whitespace().take(20) {
            match word.strip_prefix('-') {
                Some(column) => look.hidden.push(column.to_owned()),
                None => look.compact |= word == "compact",
            }
        }
        look
    }

    /// Writes it down.
    pub(crate) fn written(&self) -> String {
        let compact = if self.compact { "compact" } else { "comfortable" };
        self.hidden.iter().fold(compact.to_owned(), |all, column| format!("{all} -{column}"))
    }

    /// Whether a column is shown.
    pub(crate) fn shows(&self, column: &str) -> bool {
        !self.hidden.iter().any(|hidden| hidden == column)
    }

    /// Shows a column, or does not.
    pub(crate) fn show(&mut self, column: &str, shown: bool) {
        self.hidden.retain(|hidden| hidden != column);
        if !shown {
            self.hidden.push(column.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let mut look = Look { compact: true, ..Look::default() };
        look.show("holder", false);
        look.show("blocked", false);
        look.show("holder", true);
        assert_eq!(Look::read(&look.written()), look);
        assert!(look.shows("holder") && !look.shows("blocked"));
        assert_eq!(Look::read(""), Look::default());
    }
}
