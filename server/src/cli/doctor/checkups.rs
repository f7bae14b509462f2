//! The checks that were made: a table for people, objects for programs.

use serde::Serialize;

use super::secrets::Secrets;

/// Grade of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Failure,
}

impl Grade {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// A check that was made.
#[derive(Debug, Serialize)]
pub(super) struct Checkup {
    name: String,
    status: Grade,
    detail: String,
    /// The next step, where one is needed.
    advice: &'static str,
}

/// All checks so far.
#[derive(Debug, Default)]
pub(super) struct Checkups(Vec<Checkup>);

impl Checkups {
    /// All is well with a part.
    pub(super) fn ok(&mut self, name: &str, detail: String) {
        self.add(name, Grade::Ok, detail, "");
    }

    /// A part serves, but not as it should.
    pub(super) fn warn(&mut self, name: &str, detail: String, advice: &'static str) {
        self.add(name, Grade::Warning, detail, advice);
    }

    /// A part cannot serve.
    pub(super) fn fail(&mut self, name: &str, detail: String, advice: &'static str) {
        self.add(name, Grade::Failure, detail, advice);
    }

    fn add(&mut self, name: &str, status: Grade, detail: String, advice: &'static str) {
        self.0.push(Checkup { name: name.to_owned(), status, detail, advice });
    }

    /// True if nothing has failed.
    pub(super) fn are_well(&self) -> bool {
        self.0.iter().all(|check| check.status != Grade::Failure)
    }

    /// The checks in the order in which they were made.
    pub(super) fn all(&self) -> &[Checkup] {
        &self.0
    }

    /// Takes secrets out of all words, which may be those of a library or of a part.
    pub(super) fn hide(&mut self, secrets: &Secrets) {
        for check in &mut self.0 {
            check.detail = secrets.hidden_in(&check.detail);
        }
    }

    /// The table, in which advice stands below its check.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = self.0.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for Checkup { name, status, detail, advice } in &self.0 {
            lines.push(format!("{:<8} {name:<width$}  {detail}", status.as_str()));
            if !advice.is_empty() {
                lines.push(format!("{:<8} {:<width$}  -> {advice}", "", ""));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_next_step_below_what_is_wrong() {
        let mut checkups = Checkups::default();
        checkups.ok("database", "SQLite 3".to_owned());
        assert!(checkups.are_well());
        checkups.warn("data", "is open".to_owned(), "close it");
        assert!(checkups.are_well());
        checkups.fail("tracker", "is away".to_owned(), "start it");
        assert!(!checkups.are_well());
        let expected = [
            "ok       database  SQLite 3",
            "warning  data      is open",
            "                   -> close it",
            "failure  tracker   is away",
            "                   -> start it",
        ];
        assert_eq!(checkups.lines(), expected);
    }
}
