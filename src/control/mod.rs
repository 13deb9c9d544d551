//! Controlling the running service: commands in, one answer each, from the console and over the control socket.

pub mod answer;
pub mod client;
pub mod command;
pub mod console;
pub mod editor;
pub mod marking;
pub mod operator;
pub mod socket;
pub mod watch;

use tokio::sync::{mpsc, oneshot};

pub use answer::Answer;
pub use command::{Change, Command, CommandLine, Form};
pub use marking::Marking;

/// Commands that wait for the service. More than a person types.
const QUEUE: usize = 16;

/// A command and the way back.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Takes the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// Hands commands to the service.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// A way in and its other end, where the service takes the requests.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        match self.0.send(Request { command, answer }).await {
            Ok(()) => answered.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// The same for a thread that may block.
    #[must_use]
    pub fn ask_blocking(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        match self.0.blocking_send(Request { command, answer }) {
            Ok(()) => answered.blocking_recv().unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }
}

fn gone() -> Answer {
    Answer::Failed("the service is ending".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_a_service_that_ends_is_told_so() {
        let ending = |answer: Answer| answer.text(Form::People) == "failed: the service is ending";
        let (requests, mut receiver) = Requests::new();
        let (answer, ()) = tokio::join!(requests.ask(Command::Start), async {
            let asked = receiver.recv().await.map(|request| request.command);
            assert_eq!(asked, Some(Command::Start));
        });
        assert!(ending(answer), "it was taken and never answered");
        drop(receiver);
        assert!(ending(requests.ask(Command::Stop).await));
        let asking = std::thread::spawn(move || requests.ask_blocking(Command::Status));
        assert!(ending(asking.join().unwrap()));
    }
}
