//! Starts servers so that they end when we do, however we end.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::{env, io, thread};

use super::PostgresError;

/// A thread that starts processes.
///
/// Linux delivers the parent's death signal when the *thread* that started the process ends (PR_SET_PDEATHSIG in
/// prctl(2)), and threads of an async runtime come and go; hence one thread for it that lives as long as this value.
#[derive(Debug)]
pub struct Launcher {
    orders: Sender<Order>,
    setpriv: Option<PathBuf>,
}

/// A process to start, and where to hand it.
struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

impl Launcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start() -> Result<Launcher, PostgresError> {
        let (orders, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("demo-launcher".to_owned());
        thread.spawn(move || serve(&queue)).map_err(PostgresError::io("starting a thread"))?;
        let path = env::var_os("PATH").unwrap_or_default();
        let setpriv = env::split_paths(&path).map(|directory| directory.join("setpriv")).find(|file| file.is_file());
        Ok(Launcher { orders, setpriv })
    }

    /// A command for `program` whose process gets `signal` (as "INT") when we end. Where setpriv (util-linux) is
    /// missing the janitor of the directory has to do.
    pub fn command(&self, program: &Path, signal: &str) -> Command {
        match &self.setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", signal, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// Starts a command in a process group of its own, so that Ctrl-C in a terminal reaches us alone.
    ///
    /// # Errors
    /// As `Command::spawn`.
    pub fn launch(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0);
        let (reply, answer) = mpsc::channel();
        let gone = || io::Error::other("the launching thread has ended");
        self.orders.send(Order { command, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

/// Starts what is asked for until the [`Launcher`] is gone.
fn serve(queue: &Receiver<Order>) {
    for Order { mut command, reply } in queue {
        // Nobody waits for it any more: a process that nobody would own must not be left running.
        if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_process_ends_with_its_launcher() {
        let launcher = Launcher::start().unwrap();
        let mut command = launcher.command(Path::new("/bin/sleep"), "TERM");
        command.arg("600");
        let mut child = launcher.launch(command).unwrap();
        // The signal is asked for by setpriv before it becomes sleep.
        while std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "sleep\n" {
            thread::yield_now();
        }
        drop(launcher);
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let launcher = Launcher::start().unwrap();
        assert!(launcher.launch(Command::new("/nonexistent/program")).is_err());
    }
}
