//! The rules of the repository itself. No machine is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::folders::checkout;

/// Which crate of ours may import which others of ours. Imports run one way.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("agent", &["connector-proto", "connector-sys"]),
    (
        "appliance",
        &["connector-proto", "connector-sys", "ovf", "splice-core"],
    ),
    ("bench-tunnel", &["connector-proto", "connector-sys"]),
    ("connector-proto", &[]),
    ("connector-sys", &[]),
    ("disk-format", &[]),
    ("edge", &["connector-proto", "splice-core"]),
    ("guest", &["connector-sys", "splice-core"]),
    ("image-builder", &["disk-format", "kernel-config", "ovf"]),
    (
        "init",
        &["connector-proto", "connector-sys", "disk-format", "ovf"],
    ),
    ("kernel-config", &[]),
    ("ovf", &[]),
    ("qemu", &[]),
    ("splice-core", &["connector-proto", "connector-sys"]),
    ("tool", &[]),
];

/// The one crate that may import everything, and that nobody may import.
const TESTS: &str = "tests";

/// The one folder with unsafe code.
const FENCE: &str = "appliance/sys/";

/// What the repository's root holds; the README explains each folder.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "appliance",
    "docs",
    "edge",
    "image-builder",
    "init",
    "kernel-config",
    "ovf",
    "qemu",
    "rust-toolchain.toml",
    "tests",
];

/// Words that the documents do not use, and the word that they do.
const SYNONYMS: &[(&str, &str)] = &[
    ("activation key", "provisioning key"),
    ("enrolment key", "provisioning key"),
    ("enrolment token", "provisioning key"),
    ("provisioning token", "provisioning key"),
    ("connector pool", "connector group"),
    ("enroll", "enrol"),
    ("enrolls", "enrols"),
    ("enrollment", "enrolment"),
    ("enrollments", "enrolments"),
];

#[test]
fn crates_import_only_what_the_table_allows() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .collect();
    let mut table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        let allowed = table.remove(name);
        if allowed.is_none() && name != TESTS {
            wrong.push(format!("{name} is not in the table of this test"));
        }
        for dependency in list(package, "dependencies") {
            let import = text(dependency, "name");
            let in_tests_only = dependency["kind"] == "dev";
            let is_allowed = name == TESTS
                || allowed.is_some_and(|names| names.contains(&import))
                || in_tests_only && import != TESTS;
            if ours.contains(import) && !is_allowed {
                wrong.push(format!("{name} may not import {import}"));
            }
        }
    }
    wrong.extend(
        table
            .keys()
            .map(|name| format!("{name} is in the table and is no crate")),
    );
    assert_none("import", &wrong);
}

#[test]
fn the_tool_needs_nothing_but_rust() {
    let packages = packages();
    let tool = packages
        .iter()
        .find(|package| text(package, "name") == "tool");
    assert!(list(tool.expect("tests/tool"), "dependencies").is_empty());
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let table = manifest
        .split_once("[workspace.dependencies]\n")
        .expect("the table")
        .1;
    let table = table.split("\n[").next().unwrap_or(table);
    let used: BTreeSet<String> = packages()
        .iter()
        .flat_map(|package| list(package, "dependencies").to_vec())
        .map(|dependency| text(&dependency, "name").to_owned())
        .collect();
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for line in table
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let name = line.split([' ', '=', '.']).next().unwrap_or(line);
        known.insert(name.to_owned());
        let reason = line
            .rsplit_once("# ")
            .map_or("", |(_, reason)| reason.trim());
        let is_ours = line.contains("path = ");
        if !is_ours && reason.is_empty() {
            wrong.push(format!("{name} has no reason behind it"));
        }
        if !is_ours && !used.contains(name) {
            wrong.push(format!("{name} is used by no crate"));
        }
    }
    wrong.extend(
        used.difference(&known)
            .map(|name| format!("{name} is not in the table")),
    );
    assert_none("dependency", &wrong);
}

#[test]
fn unsafe_code_is_in_sys_only() {
    let mut wrong = Vec::new();
    let mut blocks: BTreeMap<String, usize> = BTreeMap::new();
    for path in files().iter().filter(|path| path.ends_with(".rs")) {
        let source = read(path);
        let lines: Vec<&str> = source.lines().collect();
        for (at, line) in code_of(&source).lines().enumerate() {
            let count = words(line).filter(|word| *word == "unsafe").count();
            if count == 0 {
                continue;
            }
            if !path.starts_with(FENCE) {
                wrong.push(format!(
                    "{path}:{} has unsafe code outside of {FENCE}",
                    at + 1
                ));
                continue;
            }
            if !has_safety_comment(&lines[..at]) {
                wrong.push(format!("{path}:{} has no SAFETY comment above it", at + 1));
            }
            let module = Path::new(path)
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy();
            *blocks.entry(module.into_owned()).or_default() += count;
        }
    }
    let budget = unsafe_budget(&read("appliance/sys/src/lib.rs"));
    if budget != blocks {
        wrong.push(format!(
            "the budget in {FENCE}src/lib.rs is {budget:?}, the code {blocks:?}"
        ));
    }
    assert_none("unsafe", &wrong);
}

#[test]
fn the_root_holds_only_what_the_readme_explains() {
    let readme = read("README.md");
    let mut wrong = Vec::new();
    for entry in root_entries() {
        if !ROOT.contains(&entry.as_str()) {
            wrong.push(format!("{entry} is not in the table of this test"));
        }
        let is_folder = checkout().join(&entry).is_dir() && !entry.starts_with('.');
        if is_folder && !readme.contains(&format!("{entry}/")) {
            wrong.push(format!("{entry}/ has no sentence in README.md"));
        }
    }
    assert_none("root", &wrong);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let roots = root_entries();
    let mut wrong = Vec::new();
    for document in documents() {
        let prose = without_code_blocks(&read(&document));
        let folder = Path::new(&document).parent().unwrap_or(Path::new(""));
        for target in link_targets(&prose) {
            let path = target.split('#').next().unwrap_or(target);
            if !path.is_empty() && !checkout().join(folder).join(path).exists() {
                wrong.push(format!(
                    "{document} links to {target}, which does not exist"
                ));
            }
        }
        for span in spans(&prose) {
            let path = span.split("::").next().unwrap_or(span);
            let first = path.split('/').next().unwrap_or(path);
            let is_path = path.contains('/') && !path.contains([' ', '*', '{', '<']);
            let is_ours = roots.iter().any(|root| root == first);
            if is_path && is_ours && !checkout().join(path).exists() {
                wrong.push(format!("{document} names `{span}`, which does not exist"));
            }
        }
    }
    assert_none("link", &wrong);
}

#[test]
fn every_promise_names_a_test_that_exists() {
    promises_hold("docs/SPECIFICATION.md");
}

#[test]
fn every_threat_names_a_test_that_exists() {
    promises_hold("docs/THREAT_MODEL.md");
}

/// In every table of `document` whose last column is headed "test", each row names a test there is.
fn promises_hold(document: &str) {
    let text = without_code_blocks(&read(document));
    let mut wrong = Vec::new();
    let mut promises = 0;
    for row in promise_rows(&text) {
        promises += 1;
        let verdict = row.rsplit('|').next().unwrap_or(row).trim();
        let tests = spans(verdict).filter(|span| span.contains(".rs::")).count();
        if tests == 0 && !is_open(verdict) {
            wrong.push(format!(
                "{row:?} names neither a test nor why there is none"
            ));
        }
    }
    for span in spans(&text).filter(|span| span.contains(".rs::")) {
        let (path, name) = span.split_once("::").unwrap_or((span, ""));
        let name = name.rsplit("::").next().unwrap_or(name);
        let source = std::fs::read_to_string(checkout().join(path)).unwrap_or_default();
        if !code_of(&source).contains(&format!("fn {name}(")) {
            wrong.push(format!(
                "{document} names the test `{span}`, which does not exist"
            ));
        }
    }
    assert_none("promise", &wrong);
    assert!(
        promises > 0,
        "{document} has no table whose last column is headed \"Test\""
    );
}

#[test]
fn no_file_names_a_machine_or_a_registry_host() {
    // In two halves, so that this file is not its own finding.
    let needles = [
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("/wo", "rk/"),
        ("index.crates", ".io"),
        ("static.crates", ".io"),
        ("deb.debian", ".org"),
        ("ftp.debian", ".org"),
        ("security.debian", ".org"),
        ("snapshot.debian", ".org"),
    ]
    .map(|(first, second)| format!("{first}{second}"));
    let mut wrong = Vec::new();
    for path in files() {
        let bytes = std::fs::read(checkout().join(&path)).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        for (at, line) in content.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(needle.as_str())) {
                wrong.push(format!("{path}:{} has {needle}", at + 1));
            }
        }
    }
    assert_none("name", &wrong);
}

#[test]
fn the_words_of_the_design_are_used() {
    let mut wrong = Vec::new();
    for path in files().iter().filter(|path| !path.ends_with("tidy.rs")) {
        let bytes = std::fs::read(checkout().join(path)).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes).to_lowercase();
        for (at, line) in content.lines().enumerate() {
            for (synonym, word) in SYNONYMS
                .iter()
                .filter(|(synonym, _)| line.contains(synonym))
            {
                if synonym.contains(' ') || words(line).any(|found| found == *synonym) {
                    wrong.push(format!(
                        "{path}:{}: {synonym} is called {word} here",
                        at + 1
                    ));
                }
            }
        }
    }
    assert_none("word", &wrong);
}

/// All violations at once: a person mends them together.
#[track_caller]
fn assert_none(rule: &str, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} {rule} violations:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The crates of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ];
    let metadata: Value = serde_json::from_slice(&output(cargo.as_ref(), &arguments))
        .expect("cargo metadata writes JSON");
    list(&metadata, "packages").to_vec()
}

/// Every file that is, or would be, in the repository, relative to its root.
fn files() -> Vec<String> {
    // The checkout may belong to another user, in a container for instance.
    let arguments = [
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "-co",
        "--exclude-standard",
        "--deduplicate",
    ];
    let listed = String::from_utf8(output("git".as_ref(), &arguments)).expect("names are UTF-8");
    let mut files: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
    files.retain(|path| checkout().join(path).is_file());
    assert!(
        files.len() > 100,
        "git ls-files knows only {} files",
        files.len()
    );
    files
}

fn output(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(checkout())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {errors}",
        program.display()
    );
    output.stdout
}

fn root_entries() -> BTreeSet<String> {
    let first = |path: &String| path.split('/').next().unwrap_or(path).to_owned();
    files().iter().map(first).collect()
}

/// The documents that a person starts from.
fn documents() -> Vec<String> {
    let mut documents = files();
    documents
        .retain(|path| path == "README.md" || path.starts_with("docs/") && path.ends_with(".md"));
    documents
}

fn read(path: &str) -> String {
    let path: PathBuf = checkout().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("cargo metadata has no {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("cargo metadata has no {key}"))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

/// Whether the comment that ends `above` says why the next line is sound.
fn has_safety_comment(above: &[&str]) -> bool {
    above
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .take_while(|line| line.starts_with("//"))
        .any(|line| line.starts_with("// SAFETY: "))
}

/// Number of blocks by module, from the table in the crate's documentation.
fn unsafe_budget(source: &str) -> BTreeMap<String, usize> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("//! | [`")?.split('|');
        let module = cells.next()?.trim().strip_suffix("`]")?.to_owned();
        Some((module, cells.next()?.trim().parse().ok()?))
    };
    source.lines().filter_map(row).collect()
}

/// The rows of the tables whose last column is headed "Test", without their outer bars.
fn promise_rows(text: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            in_table = false;
            continue;
        };
        let row = row.trim_end_matches('|');
        let last = row.rsplit('|').next().unwrap_or(row).trim();
        if last.eq_ignore_ascii_case("test") || last.eq_ignore_ascii_case("tests") {
            in_table = true;
        } else if in_table && !row.chars().all(|letter| "|-: ".contains(letter)) {
            rows.push(row);
        }
    }
    rows
}

/// Whether a promise says why it has no test.
fn is_open(verdict: &str) -> bool {
    let issue = verdict.split_once("pending (issue ").map(|(_, rest)| rest);
    let numbered = issue.is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()));
    numbered || verdict.contains("not verified here")
}

/// The targets of markdown links that are not on the web.
fn link_targets(prose: &str) -> impl Iterator<Item = &str> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// What stands between backticks.
fn spans(prose: &str) -> impl Iterator<Item = &str> {
    prose
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn without_code_blocks(document: &str) -> String {
    let mut prose = String::new();
    let mut in_block = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Rust source with comments and the contents of literals taken out, line by line as before.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let skipped = literal_or_comment(rest, code.chars().last());
        let taken = skipped.unwrap_or_else(|| letter.len_utf8());
        let (now, later) = rest.split_at(taken);
        match skipped {
            None => code.push_str(now),
            Some(_) => code.extend(now.chars().filter(|letter| *letter == '\n')),
        }
        rest = later;
    }
    code
}

/// Length of the comment or literal that `rest` begins with.
fn literal_or_comment(rest: &str, before: Option<char>) -> Option<usize> {
    let until = |from: usize, end: &str| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    let is_name = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        let mut letters = rest.chars().skip(1);
        let (first, second) = (letters.next(), letters.next());
        // Else a lifetime.
        return (first == Some('\\') || second == Some('\'')).then(|| quoted(rest, '\''));
    }
    let raw = rest
        .strip_prefix('r')
        .filter(|_| !is_name || matches!(before, Some('b' | 'c')))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let opened = raw[hashes..].starts_with('"');
    opened.then(|| until(hashes + 2, &format!("\"{}", &raw[..hashes])))
}

/// Length of a literal that ends with the next `quote` that no backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[test]
fn only_code_is_left_of_a_source() {
    let cases = [
        ("a // unsafe\nb", "a \nb"),
        ("a /* x /* unsafe */ y\n */ b", "a \n b"),
        (r#"f("unsafe \" {", 'u', '\'', b"unsafe")"#, "f(, , , b)"),
        ("f(r#\"unsafe \" \"#, br\"\\\") g", "f(, b) g"),
        (
            "fn f<'a>(x: &'a str, r: for_each) { unsafe {} }",
            "fn f<'a>(x: &'a str, r: for_each) { unsafe {} }",
        ),
        ("let c = 'ä'; \"never closed", "let c = ; "),
    ];
    for (source, code) in cases {
        assert_eq!(code_of(source), code, "{source}");
    }
}

#[test]
fn a_block_without_its_reason_is_seen() {
    assert!(has_safety_comment(&[
        "x;",
        "    // SAFETY: the pointer is live",
        "    // and ours."
    ]));
    assert!(!has_safety_comment(&[
        "// SAFETY: of another",
        "x;",
        "// Sends."
    ]));
    assert!(!has_safety_comment(&[]));
    let table = "//! | [`a`] | 2 | why |\n//! |---|---|---|\n//! | [`b_c`] | 1 | why |";
    assert_eq!(
        unsafe_budget(table),
        [("a".into(), 2), ("b_c".into(), 1)].into()
    );
}

#[test]
fn a_promise_is_a_row_of_a_table_headed_test() {
    let text = "| Word | Meaning |\n|---|---|\n| a | b |\n\n| Promise | Test |\n|---|:--|\n| p | `x.rs::y` |\n";
    assert_eq!(promise_rows(text), [" p | `x.rs::y` "]);
    assert!(is_open("pending (issue 12)") && is_open("not verified here: no such machine"));
    assert!(!is_open("pending") && !is_open("pending (issue )") && !is_open("`fn`"));
}
