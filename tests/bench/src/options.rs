//! The words of the command line.

use std::path::PathBuf;

use crate::peers::PEERS;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Names of the peers to run; empty: all of them.
    pub only: Vec<String>,
    /// Rounds, each of which starts every peer once.
    pub rounds: usize,
    /// Short measurements, to try the machinery: the figures are worth little.
    pub quick: bool,
    /// Put the tables into the documents.
    pub write: bool,
    /// Nothing but to understand these words.
    pub check: bool,
    /// This is the process inside the namespace.
    pub inside: bool,
    /// Where the programs are that are measured, and where the results go.
    pub places: Places,
}

/// Files and folders that the driver built or fetched. One that is not given is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Outgate's connector.
    pub connector: Option<PathBuf>,
    /// Outgate's service edge.
    pub edge: Option<PathBuf>,
    /// The folder into which Debian's packages were unpacked.
    pub debian: Option<PathBuf>,
    /// rathole.
    pub rathole: Option<PathBuf>,
    /// The folder of the results.
    pub out: PathBuf,
    /// The checkout, for `--write`.
    pub checkout: PathBuf,
}

/// What is printed to whoever asks for help or mistypes.
pub const USAGE: &str = "\
usage: cargo bench-tunnel [--only PEERS] [--rounds N] [--quick] [--write]
  --only PEERS   comma-separated names of the peers to run
  --rounds N     interleaved rounds, 1 to 99 (default 3): the figures are their medians
  --quick        one round of short measurements, to try the machinery
  --write        replace the tables in the documents with this run's
Exit code: 0 done, 1 failed, 2 not understood, 3 the run is rejected because the machine was not quiet.";

impl Options {
    /// Understands `words`.
    ///
    /// # Errors
    /// The sentence about the first word that is not understood.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            rounds: 3,
            quick: false,
            write: false,
            check: false,
            inside: false,
            places: Places::default(),
        };
        let mut rounds = None;
        let mut words = words.into_iter().filter(|word| word != "--");
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let places = &mut options.places;
            match word.as_str() {
                "--only" => options.only = parse_peers(&value()?)?,
                "--rounds" => rounds = Some(parse_rounds(&value()?)?),
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                "--check" => options.check = true,
                "--inside" => options.inside = true,
                "--connector" => places.connector = Some(value()?.into()),
                "--edge" => places.edge = Some(value()?.into()),
                "--debian" => places.debian = Some(value()?.into()),
                "--rathole" => places.rathole = Some(value()?.into()),
                "--out" => places.out = value()?.into(),
                "--checkout" => places.checkout = value()?.into(),
                _ => return Err(format!("{word:?} is not an option")),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { 3 });
        Ok(options)
    }

    /// Whether the peer of that name is to be run.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn parse_peers(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
    let known = |name: &str| match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "{name:?} is not a peer; there are {}",
            names.join(",")
        )),
    };
    text.split(',').map(|name| known(name.trim())).collect()
}

fn parse_rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds @ 1..=99) => Ok(rounds),
        _ => Err(format!("{text:?} is not a number of rounds, 1 to 99")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_words_every_peer_runs_three_times() {
        let options = parse("").unwrap();
        assert_eq!((options.rounds, options.quick), (3, false));
        assert!(options.wants("nginx") && options.wants("outgate"));
    }

    #[test]
    fn what_was_asked_for_is_understood() {
        let options = parse("-- --only nginx,outgate --rounds 5 --write").unwrap();
        assert_eq!(options.only, ["nginx", "outgate"]);
        assert_eq!(options.rounds, 5);
        assert!(options.write && !options.wants("stunnel"));
        assert_eq!(parse("--quick").unwrap().rounds, 1);
        assert_eq!(parse("--rounds 2 --quick").unwrap().rounds, 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("--only nginy", "\"nginy\" is not a peer; there are "),
            ("--rounds 0", "\"0\" is not a number of rounds, 1 to 99"),
            ("--rounds", "--rounds needs a value"),
            ("--fast", "\"--fast\" is not an option"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.starts_with(named), "{said}");
        }
    }
}
