//! Rule 6: the README is short, every page in `docs/` is linked, and no link is dead.

use std::collections::BTreeSet;

use crate::{report::Violation, tree::Tree};

/// The most lines of the README.
pub const MOST_LINES: usize = 200;

/// How long the README is.
pub fn lines_of_readme(tree: &Tree) -> usize {
    tree.texts("README.md").find(|(path, _)| *path == "README.md").map_or(0, |(_, text)| text.lines().count())
}

/// Links that lead nowhere, and pages that no link leads to.
pub fn violations(tree: &Tree) -> Vec<Violation> {
    let is_page = |path: &str| !path.contains('/') || path.starts_with("docs/");
    let pages: Vec<_> = tree.texts(".md").filter(|(path, _)| is_page(path)).collect();
    let (mut found, mut linked) = (Vec::new(), BTreeSet::new());
    for (page, text) in &pages {
        for (line, link) in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { Some((*page).to_owned()) } else { join(page, path) };
            let target = target.filter(|target| tree.exists(target));
            let text =
                target.as_ref().and_then(|target| pages.iter().find(|(page, _)| page == target)).map(|page| page.1);
            if target.is_none() || text.is_some_and(|text| !anchor.is_empty() && !anchors(text).contains(anchor)) {
                found.push(Violation::new(format!("{page}: {link}"), format!("line {line} leads nowhere")));
            }
            linked.extend(target.filter(|target| target != page));
        }
    }
    let lost = pages.iter().filter(|(page, _)| page.starts_with("docs/") && !linked.contains(*page));
    found.extend(lost.map(|(page, _)| Violation::new((*page).to_owned(), "no page links to it".to_owned())));
    found
}

/// The targets of `[text](target)`, with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let (mut links, mut is_code) = (Vec::new(), false);
    for (line, text) in text.lines().enumerate() {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second part stands between backticks.
        let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join("_");
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            links.push((line + 1, target.to_owned()));
        }
    }
    links
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut is_code) = (BTreeSet::new(), false);
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let (mut nth, mut unique) = (0, anchor.clone());
        while !anchors.insert(unique) {
            nth += 1;
            unique = format!("{anchor}-{nth}");
        }
    }
    anchors
}

/// The path that a link of a page means; none if it leaves the repository.
fn join(page: &str, link: &str) -> Option<String> {
    let mut parts: Vec<_> = page.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_lost_pages_are_seen() {
        let readme = "# A b, `c`!\n[a](docs/a.md) [b](docs/no.md) [c](#a-b-c) [d](#no) [e](https://x/y) `[f](no)`\n\
                      [g](docs/a.md#one) [h](docs/a.md#two) [i](docs) [j](../up)\n```\n[k](no)\n```\n";
        let files = [
            ("README.md", readme),
            ("docs/a.md", "# One\n[back](../README.md#a-b-c) [self](a.md)"),
            ("docs/lost.md", "[self](lost.md)"),
        ];
        let found: Vec<_> = violations(&Tree::fixture(&files)).into_iter().map(|violation| violation.key).collect();
        let expected =
            ["README.md: docs/no.md", "README.md: #no", "README.md: docs/a.md#two", "README.md: ../up", "docs/lost.md"];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_readme_is_measured() {
        let files = [("README.md", "a\nb\n"), ("docs/README.md", "a\nb\nc\n")];
        assert_eq!(lines_of_readme(&Tree::fixture(&files)), 2);
    }
}
