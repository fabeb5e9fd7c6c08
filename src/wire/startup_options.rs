//! The start-up parameter `options` (PGOPTIONS): command-line switches of a backend, as far as they are settings.
//!
//! *Source*: `src/backend/utils/init/postinit.c`, `pg_split_opts`; `src/backend/tcop/postgres.c`, `process_postgres_switches`.

use super::startup::Fatal;

/// `-c x=y`, `--x=y`, `-cx=y` and the short forms that stand for a setting, in order.
pub(super) fn parse(options: &str) -> Result<Vec<(String, String)>, Fatal> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let Some(switches) = word.strip_prefix('-').filter(|switches| !switches.is_empty()) else {
            return Err(invalid(&word));
        };
        let mut rest = switches.chars();
        while let Some(switch) = rest.next() {
            if let Some(setting) = flag(switch) {
                settings.push(setting);
                continue;
            }
            if !"c-fSd".contains(switch) {
                return Err(invalid(&word));
            }
            let attached = rest.as_str();
            let argument = match attached.is_empty() {
                false => attached.to_owned(),
                // `--` by itself ends the switches, and nothing may follow it.
                true if switch == '-' => return words.next().map_or(Ok(settings), |extra| Err(invalid(&extra))),
                true => words.next().ok_or_else(|| invalid(&word))?,
            };
            settings.extend(with_argument(switch, &argument)?);
            break;
        }
    }
    Ok(settings)
}

/// Words are separated by white space; a backslash takes the next character as it is.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            // isspace() of the C locale.
            ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

fn flag(switch: char) -> Option<(String, String)> {
    let (name, value) = match switch {
        'e' => ("datestyle", "euro"),
        'F' => ("fsync", "false"),
        'O' => ("allow_system_table_mods", "true"),
        'P' => ("ignore_system_indexes", "true"),
        's' => ("log_statement_stats", "true"),
        _ => return None,
    };
    Some((name.to_owned(), value.to_owned()))
}

fn with_argument(switch: char, argument: &str) -> Result<Vec<(String, String)>, Fatal> {
    let setting = |name: &str, value: &str| Ok(vec![(name.to_owned(), value.to_owned())]);
    match switch {
        'S' => setting("work_mem", argument),
        // set_debug_options(): only messages of levels that a client did not ask for otherwise.
        'd' => Ok(Vec::new()),
        'f' => match plan_setting(argument) {
            Some(name) => setting(name, "false"),
            None => Err(invalid(&format!("-f{argument}"))),
        },
        _ => match argument.split_once('=') {
            // ParseLongOption(): the name may be written with dashes.
            Some((name, value)) => setting(&name.replace('-', "_"), value),
            None if switch == '-' => Err(Fatal::new("42601", format!("--{argument} requires a value"))),
            None => Err(Fatal::new("42601", format!("-c {argument} requires a value"))),
        },
    }
}

fn plan_setting(argument: &str) -> Option<&'static str> {
    match argument {
        "s" => Some("enable_seqscan"),
        "i" => Some("enable_indexscan"),
        "o" => Some("enable_indexonlyscan"),
        "b" => Some("enable_bitmapscan"),
        "t" => Some("enable_tidscan"),
        "n" => Some("enable_nestloop"),
        "m" => Some("enable_mergejoin"),
        "h" => Some("enable_hashjoin"),
        _ => None,
    }
}

fn invalid(word: &str) -> Fatal {
    Fatal::new("42601", format!("invalid command-line argument for server process: {word}"))
        .hint("Try \"postgres --help\" for more information.")
}
