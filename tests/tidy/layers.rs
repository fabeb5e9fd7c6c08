//! The layer rule: a module may use those declared before it in `src/lib.rs`, and itself.

use std::path::Path;

use crate::tokens::{Token, tokens};

/// The modules in the order of their declaration.
pub fn module_order(lib: &str) -> Vec<String> {
    let tokens = tokens(lib);
    tokens
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text.clone())
        .collect()
}

/// Uses of a module that is declared later. `path` starts with `src`.
pub fn upward_imports(order: &[String], path: &Path, source: &str) -> Vec<String> {
    let module = module_path(path);
    let Some(own) = module.first().and_then(|name| order.iter().position(|known| known == name)) else {
        // lib.rs and main.rs stand above all.
        return Vec::new();
    };
    let used = top_modules_used(&tokens(source), module.len());
    let upward = used.into_iter().filter(|(name, _)| order.iter().position(|known| known == name) > Some(own));
    upward
        .map(|(name, line)| format!("{}:{line}: {} uses {name}, which stands above it", path.display(), module[0]))
        .collect()
}

/// `src/plan/mod.rs` -> `[plan]`, `src/plan/route.rs` -> `[plan, route]`, `src/lib.rs` -> `[]`.
fn module_path(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
    let file = parts.pop().unwrap_or_default();
    let name = file.trim_end_matches(".rs");
    if name != "mod" && !(parts.is_empty() && matches!(name, "lib" | "main")) {
        parts.push(name.to_owned());
    }
    parts
}

/// Names that follow `crate::`, or as many `super::` as lead to the crate's root, with their lines.
fn top_modules_used(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let mut used = Vec::new();
    // For each open brace, whether it is that of an inline module.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        at += 1;
        match text {
            "{" => braces.push(at >= 3 && tokens[at - 3].text == "mod"),
            "}" => drop(braces.pop()),
            "crate" => used.extend(names_after(tokens, at)),
            "super" => {
                let inline = braces.iter().filter(|&&module| module).count();
                let mut climbed = 1;
                while is(tokens, at, "::") && is(tokens, at + 1, "super") {
                    climbed += 1;
                    at += 2;
                }
                if climbed == depth + inline {
                    used.extend(names_after(tokens, at));
                }
            }
            _ => {}
        }
    }
    used
}

/// `::name` or the first names in `::{a, b::{c}, d}`.
fn names_after(tokens: &[Token], at: usize) -> Vec<(String, usize)> {
    if !is(tokens, at, "::") {
        return Vec::new();
    }
    let name = |at: usize| tokens.get(at).map(|token: &Token| (token.text.clone(), token.line));
    if !is(tokens, at + 1, "{") {
        return name(at + 1).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for at in at + 1..tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (is(tokens, at, "{") || is(tokens, at, ",")) {
            names.extend(name(at + 1));
        }
    }
    names
}

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, source: &str) -> Vec<String> {
        let order = module_order("//! pub mod no;\npub mod wire;\npub mod plan;\n\npub mod session;\nmod admin;");
        assert_eq!(order, ["wire", "plan", "session", "admin"]);
        upward_imports(&order, Path::new(path), source)
    }

    #[test]
    fn imports_that_point_up_are_found_in_every_spelling() {
        for source in [
            "use crate::session::Session;",
            "use crate::{wire::Frame, session::{self, Session}};",
            "use crate::{\n    wire,\n    admin,\n};",
            "fn f() { crate::session::run() }",
            "pub(crate) use crate :: session;",
            "mod tests { use super::super::super::session::X; }",
            "use super::super::session::X;",
        ] {
            assert_eq!(check("src/plan/route.rs", source).len(), 1, "{source}");
        }
        let found = check("src/plan/mod.rs", "\n\nuse super::session;");
        assert_eq!(found, ["src/plan/mod.rs:3: plan uses session, which stands above it"]);
        assert_eq!(check("src/wire.rs", "use crate::plan::Plan;").len(), 1);
    }

    #[test]
    fn imports_that_point_down_or_nowhere_are_let_be() {
        for source in [
            "use crate::wire::Frame;",
            "use crate::plan::Plan; use crate::{wire, plan::{session, admin}};",
            "// use crate::session;\n/// [`crate::session`]",
            "let s = \"use crate::session\";",
            "use super::session::X;",
            "mod tests { use super::super::session::X; use super::*; }",
            "use session::X;",
            "pub(crate) fn session() {}",
        ] {
            assert_eq!(check("src/plan/route.rs", source), [""; 0], "{source}");
        }
        assert_eq!(check("src/main.rs", "use crate::admin;"), [""; 0]);
        assert_eq!(check("src/plan/mod.rs", "mod tests { use super::session; }"), [""; 0]);
    }
}
