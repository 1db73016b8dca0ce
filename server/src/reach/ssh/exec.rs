//! One command as root, with something on its standard input.

use super::connection::Connection;
use super::{Login, Phase, SudoRefusal, VisitError, pace};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use russh::{ChannelMsg, ChannelReadHalf};
use std::pin::Pin;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;

pub(super) const MOST_STDOUT: usize = 4 << 20;
/// Its end is kept.
const MOST_STDERR: usize = 16 << 10;
/// What a message shows of what a command said.
const MOST_SAID: usize = 1 << 10;

/// What a command said, as far as it got.
#[derive(Default)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// None when a signal ended it.
    pub(super) code: Option<u32>,
}

/// A script of `sh` that runs as root. It may ask for things, and what it says after [`VISIT`] is its answer.
pub(super) struct Running<'a> {
    talk: Talk<'a>,
    hearing: ChannelReadHalf,
    /// Only to be driven: what ends the command is the host's.
    speaking: Pin<Box<dyn Future<Output = ()> + Send>>,
    taken: watch::Sender<u32>,
    is_over: bool,
}

/// What a script asks for last.
pub(super) const VISIT: &str = "visit";

/// It must be one line without `'`, `\` and `!`, so that every log-in shell hands it on as it is. It asks with
/// `echo $n WORD`. The input goes nowhere else: a password for `sudo` is written only when `sudo` asks for it, and the
/// input then waits until the script has begun.
pub(super) async fn start<'a>(
    connection: &Connection,
    login: &'a Login,
    script: &str,
) -> Result<Running<'a>, VisitError> {
    let (hearing, to_host) = connection.session().await?.split();
    let (say, mut to_say) = mpsc::unbounded_channel::<Bytes>();
    let (taken, left) = watch::channel(0);
    let talk = Talk::new(login, say);
    to_host.exec(true, talk.command(script)).await.map_err(VisitError::broken(Phase::Visit))?;
    let speaking = Box::pin(async move {
        while let Some(bytes) = to_say.recv().await {
            // Whoever does not listen any more will say why.
            let _ = pace::send(&to_host, bytes, left.clone()).await;
        }
        let _ = to_host.eof().await;
        std::future::pending().await
    });
    Ok(Running { talk, hearing, speaking, taken, is_over: false })
}

impl Running<'_> {
    pub(super) fn give(&mut self, input: Bytes) {
        self.talk.give(input);
    }

    /// And no more after it.
    pub(super) fn give_last(&mut self, input: Bytes) {
        self.talk.give(input);
        self.talk.is_given = true;
        self.talk.give_input();
    }

    /// Until it asks for something, and for what; or until it has ended.
    pub(super) async fn hear(
        &mut self,
        phase: Phase,
        output: &mut Output,
    ) -> Result<Option<String>, VisitError> {
        let Self { talk, hearing, speaking, taken, is_over } = self;
        loop {
            if let Some(asked) = talk.asked(output) {
                return Ok(Some(asked));
            }
            let message = tokio::select! {
                message = hearing.wait() => message,
                () = &mut *speaking => None,
            };
            match message {
                Some(ChannelMsg::WindowAdjusted { new_size }) => drop(taken.send(new_size)),
                Some(message) => {
                    *is_over |= matches!(message, ChannelMsg::Close);
                    talk.hear(message, output)?;
                }
                None if *is_over => return talk.end(output).map(|()| None),
                None => return Err(VisitError::broken(phase)(russh::Error::Disconnect)),
            }
        }
    }
}

/// What is said on a channel until the script has begun, and after.
struct Talk<'a> {
    login: &'a Login,
    /// Nobody can foresee it: what stands behind it is the script's.
    nonce: String,
    /// What `sudo` asks with. Another one, because in a refusal `sudo` repeats the command.
    question: String,
    /// Not sent yet.
    input: Vec<Bytes>,
    /// That is all of it.
    is_given: bool,
    say: Option<UnboundedSender<Bytes>>,
    has_begun: bool,
    /// From here on it is the answer that is heard.
    visits: bool,
    was_asked: bool,
}

impl<'a> Talk<'a> {
    fn new(login: &'a Login, say: UnboundedSender<Bytes>) -> Self {
        let mut nonce = [0; 16];
        // Without random numbers a log-in would not have got so far.
        let _ = getrandom::fill(&mut nonce);
        let nonce = format!("berth-{}", HEXLOWER.encode(&nonce));
        let question = format!("{nonce}-password");
        Self {
            login,
            nonce,
            question,
            input: Vec::new(),
            is_given: false,
            say: Some(say),
            has_begun: false,
            visits: false,
            was_asked: false,
        }
    }

    fn password(&self) -> Option<&'a str> {
        let password = self.login.sudo_password.as_ref().filter(|_| self.login.user != "root");
        password.map(|secret| secret.expose())
    }

    /// `env`, because not every log-in shell sets variables in the same words.
    fn command(&self, script: &str) -> String {
        let Self { nonce, question, .. } = self;
        let sudo = match (self.login.user.as_str(), self.password()) {
            ("root", _) => String::new(),
            (_, None) => "env LC_ALL=C sudo -n ".to_owned(),
            (_, Some(_)) => format!("env LC_ALL=C sudo -k -S -p {question} "),
        };
        format!("{sudo}sh -c 'n={nonce}; echo $n; {script}'")
    }

    fn hear(&mut self, message: ChannelMsg, output: &mut Output) -> Result<(), VisitError> {
        match message {
            ChannelMsg::Data { data } => self.hear_stdout(&data, output),
            ChannelMsg::ExtendedData { data, ext: 1 } => self.hear_stderr(&data, output),
            ChannelMsg::ExitStatus { exit_status } => {
                output.code = Some(exit_status);
                Ok(())
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.hear_stderr(format!("killed by {signal_name:?}").as_bytes(), output)
            }
            ChannelMsg::Failure => {
                Err(VisitError::Broken { phase: Phase::Visit, reason: "no command may be run".to_owned() })
            }
            // The rest says nothing of the command.
            _ => Ok(()),
        }
    }

    /// What a log-in shell says before the script does is dropped.
    fn hear_stdout(&mut self, data: &[u8], output: &mut Output) -> Result<(), VisitError> {
        output.stdout.extend_from_slice(data);
        let begin = format!("{}\n", self.nonce);
        if !self.has_begun
            && let Some(at) = find(&output.stdout, begin.as_bytes())
        {
            output.stdout.drain(..at + begin.len());
            self.has_begun = true;
            self.give_input();
        }
        if output.stdout.len() > MOST_STDOUT { Err(VisitError::AnswerTooLong) } else { Ok(()) }
    }

    fn hear_stderr(&mut self, data: &[u8], output: &mut Output) -> Result<(), VisitError> {
        output.stderr.extend_from_slice(data);
        while !self.has_begun
            && let Some(at) = find(&output.stderr, self.question.as_bytes())
        {
            output.stderr.drain(at..at + self.question.len());
            self.answer()?;
        }
        let excess = output.stderr.len().saturating_sub(MOST_STDERR);
        output.stderr.drain(..excess);
        Ok(())
    }

    /// The same password again would be as wrong.
    fn answer(&mut self) -> Result<(), VisitError> {
        let password = self.password().filter(|_| !std::mem::replace(&mut self.was_asked, true));
        let Some(password) = password else { return Err(self.refused(SudoRefusal::WrongPassword)) };
        if let Some(say) = &self.say {
            let _ = say.send(Bytes::from(format!("{password}\n")));
        }
        Ok(())
    }

    fn give(&mut self, input: Bytes) {
        self.input.push(input);
        self.give_input();
    }

    /// `sudo` must not read it as a password.
    fn give_input(&mut self) {
        if self.password().is_some() && !self.has_begun {
            return;
        }
        for input in self.input.drain(..) {
            if let Some(say) = &self.say {
                let _ = say.send(input);
            }
        }
        if self.is_given {
            self.say = None;
        }
    }

    /// What the script has said that it wants, taken out of its output.
    fn asked(&mut self, output: &mut Output) -> Option<String> {
        if !self.has_begun || self.visits {
            return None;
        }
        let begin = format!("{} ", self.nonce);
        let start = find(&output.stdout, begin.as_bytes())? + begin.len();
        let length = find(&output.stdout[start..], b"\n")?;
        let asked = String::from_utf8_lossy(&output.stdout[start..start + length]).into_owned();
        output.stdout.drain(..=start + length);
        self.visits = asked == VISIT;
        Some(asked)
    }

    fn end(&self, output: &mut Output) -> Result<(), VisitError> {
        if self.has_begun {
            return Ok(());
        }
        // None of it is an answer.
        let stdout = std::mem::take(&mut output.stdout);
        if self.login.user != "root" {
            return Err(self.refused(self.why_refused(output)));
        }
        output.stderr.extend(stdout);
        Err(VisitError::AgentFailed { code: output.code, said: said(self.login, output) })
    }

    fn why_refused(&self, output: &Output) -> SudoRefusal {
        let text = String::from_utf8_lossy(&output.stderr);
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if output.code == Some(127) || says(&["sudo: not found", "sudo: No such file"]) {
            SudoRefusal::Missing
        } else if says(&["not in the sudoers", "not allowed to", "may not run sudo"]) {
            SudoRefusal::NotAllowed
        } else if says(&["password is required"]) && !self.was_asked {
            SudoRefusal::NeedsPassword
        } else if says(&[
            "incorrect password",
            "incorrect authentication",
            "Sorry, try again",
            "no password was provided",
        ]) {
            SudoRefusal::WrongPassword
        } else {
            SudoRefusal::Other(said(self.login, output))
        }
    }

    fn refused(&self, refusal: SudoRefusal) -> VisitError {
        VisitError::Sudo { user: self.login.user.clone(), refusal }
    }
}

/// The end of what a command said, fit for a message: on one line, and without the password that the machine was given
/// and may say again.
pub(super) fn said(login: &Login, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut text = text.trim().replace(|letter: char| letter.is_control(), " ");
    if let Some(password) =
        login.sudo_password.as_ref().map(|secret| secret.expose()).filter(|it| !it.is_empty())
    {
        text = text.replace(password, "…");
    }
    let mut start = text.len().saturating_sub(MOST_SAID);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    if text.is_empty() { "it said nothing".to_owned() } else { text.split_off(start) }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
