//! What the pages in `deploy/docs` show is what happens: their files are valid,
//! and their commands print what stands below them.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A fenced block: what stands behind its fence, and its lines.
struct Block<'a> {
    info: &'a str,
    text: &'a str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    // Between two fences stands prose, then a block, then prose again.
    let odd = page.split("```").skip(1).step_by(2);
    odd.map(|block| {
        let (info, text) = block.split_once('\n').unwrap();
        Block { info, text }
    })
    .collect()
}

/// `$ COMMAND`, and what it prints.
fn commands<'a>(block: &Block<'a>) -> Vec<(&'a str, &'a str)> {
    let text = block.text.strip_prefix("$ ").unwrap();
    text.split("\n$ ")
        .map(|one| one.split_once('\n').unwrap_or((one, "")))
        .collect()
}

/// Whether that was printed; `…` in a line of its own stands for any lines.
fn is_printed(printed: &str, shown: &str) -> bool {
    let mut parts = shown.split("…\n");
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut elided = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        elided = part.is_empty();
    }
    elided || rest.is_empty()
}

/// Files of the page lie in a folder; its commands are run there. Returns how
/// many there were.
fn check(page: &Path) -> usize {
    let text = fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(&text);
    for block in &blocks {
        if let Some((_, name)) = block.info.split_once(' ') {
            fs::write(folder.path().join(name), block.text).unwrap();
        }
    }
    let mut ran = 0;
    for block in blocks.iter().filter(|block| block.info == "console") {
        for (command, shown) in commands(block) {
            let words: Vec<&str> = command.split(' ').collect();
            // The others need a cluster, root or a running agent; they show
            // nothing.
            let ["nodespan", "check" | "explain", ..] = words[..] else {
                assert_eq!(shown, "", "{}: {command}", page.display());
                continue;
            };
            let output = Command::new(env!("CARGO_BIN_EXE_nodespan"))
                .args(&words[1..])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(
                is_printed(&printed, shown),
                "{}: {command}\n{printed}",
                page.display()
            );
            ran += 1;
        }
    }
    // Files that no command looks at are configurations all the same.
    for block in &blocks {
        if let Some(("toml", name)) = block.info.split_once(' ')
            && !text.contains(&format!("--config {name}"))
        {
            nodespan::config::load(&folder.path().join(name)).unwrap();
        }
    }
    ran
}

#[test]
fn the_pages_show_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs");
    assert!(check(&folder.join("from-kuma.md")) >= 3);
    assert!(check(&folder.join("from-traefik.md")) >= 4);
}

/// Their commands that are not run here are at least nodespan's, with options
/// that it has.
#[test]
fn every_command_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs");
    let mut called = 0;
    for page in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(page.unwrap().path()).unwrap();
        for line in text.lines() {
            let Some((_, command)) = line
                .split_once("$ ")
                .filter(|(before, _)| before.is_empty())
            else {
                continue;
            };
            let is_called = |at: &usize| {
                let before = &command[..*at];
                before.is_empty() || before.ends_with("sudo ") || before.ends_with("bin/")
            };
            let mut places = command.match_indices("nodespan ").map(|(at, _)| at);
            let Some(at) = places.find(is_called) else {
                continue;
            };
            called += 1;
            let command = command[at..].split(" | ").next().unwrap();
            let mut words: Vec<&str> = command.split(' ').skip(1).collect();
            let options = words.iter().position(|word| word.starts_with("--"));
            let options = words.split_off(options.unwrap_or(words.len()));
            let help = Command::new(env!("CARGO_BIN_EXE_nodespan"))
                .args(words.iter().chain(&["--help"]))
                .output()
                .unwrap();
            assert!(help.status.success(), "{command}");
            let help = String::from_utf8(help.stdout).unwrap();
            for option in options.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{command}: no {option}");
            }
        }
    }
    assert!(called > 10, "{called}");
}

#[test]
fn lines_that_are_left_out_stand_for_any() {
    for (printed, shown, is) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\nb\n", "a\n", false),
        ("a\nb\nc\n", "a\n…\nc\n", true),
        ("a\nb\nc\n", "a\n…\n", true),
        ("a\nb\nc\nd\n", "a\n…\nc\n", false),
        ("b\n", "…\nb\n", true),
        ("b\n", "a\n…\n", false),
    ] {
        assert_eq!(is_printed(printed, shown), is, "{shown}");
    }
}
