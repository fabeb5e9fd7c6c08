//! What the Rust suites share: a test is a future; each prints one line.
//!
//! A suite is a program: `suite URL [--gateway]`. It prints `ok NAME` or `FAILED NAME: reason` for each test and `end` when
//! it came to its end; `../run` counts those lines.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

const TEST_MAX: Duration = Duration::from_secs(60);

/// What a test ends with: nothing, or why it failed.
pub type Outcome = Result<(), Failure>;

/// Why a test failed.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        Failure(text)
    }
}

/// Fails the test unless both are equal.
pub fn equal<A: PartialEq<B> + Debug, B: Debug>(got: A, expected: B, what: &str) -> Outcome {
    if got == expected { Ok(()) } else { Err(Failure(format!("{what}: expected {expected:?}, got {got:?}"))) }
}

/// Runs one test in a task of its own, so that its panic is its own.
pub async fn test(name: &str, body: impl Future<Output = Outcome> + Send + 'static) {
    let task = tokio::spawn(body);
    let abort = task.abort_handle();
    let failure = match tokio::time::timeout(TEST_MAX, task).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(Failure(reason)))) => Some(reason),
        Ok(Err(panic)) => Some(panic.to_string()),
        Err(_) => Some(format!("not done after {} s", TEST_MAX.as_secs())),
    };
    abort.abort();
    match failure {
        None => println!("ok {name}"),
        Some(reason) => println!("FAILED {name}: {}", reason.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// URL and whether it is a gateway's, from the command line.
pub fn arguments() -> (String, bool) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let url = arguments.first().cloned().unwrap_or_default();
    (url, arguments.iter().any(|argument| argument == "--gateway"))
}
