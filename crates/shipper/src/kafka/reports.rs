//! What librdkafka reports, into the ledger and the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipeline::ledger::Loss;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, error, info, warn};

use super::outcome::{self, Circumstances};
use crate::account::Account;
use crate::quiet::Quiet;
use crate::sys::produce::{Outcome, Reports, Shipment};

/// How it stands with the cluster, as far as can be seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Starting,
    Working,
    Unreachable,
    Unauthorized,
    Silent,
}

#[derive(Debug)]
struct State {
    condition: Condition,
    since: Instant,
    /// The latest trouble with any broker, in librdkafka's words.
    trouble: Option<String>,
    last_acknowledged: Instant,
    circumstances: Circumstances,
    /// An error that may mean that the client can go on no more: only the client knows.
    suspicion: Option<String>,
    /// Batches that a failed client did not send, for the next one. It purges them itself, before anybody hears of it.
    returned: Vec<Shipment>,
    losses: [Quiet; Loss::ALL.len()],
    other: Quiet,
}

/// Settles batches and logs changes of state.
#[derive(Debug)]
pub(crate) struct KafkaReports {
    sink: String,
    account: Arc<Account>,
    state: Mutex<State>,
}

const QUIET: Duration = Duration::from_secs(30);

impl KafkaReports {
    pub(super) fn new(sink: &str, account: &Arc<Account>) -> Self {
        let now = Instant::now();
        let state = State {
            condition: Condition::Starting,
            since: now,
            trouble: None,
            last_acknowledged: now,
            circumstances: Circumstances::default(),
            suspicion: None,
            returned: Vec::new(),
            losses: [const { Quiet::new(QUIET) }; Loss::ALL.len()],
            other: Quiet::new(QUIET),
        };
        Self { sink: sink.to_owned(), account: Arc::clone(account), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is purged is lost under this name.
    pub(super) fn close_as(&self, why: Loss) {
        self.lock().circumstances.closing = Some(why);
    }

    /// An error that has not been looked into.
    pub(super) fn take_suspicion(&self) -> Option<String> {
        self.lock().suspicion.take()
    }

    /// It was, and the client can go on.
    pub(super) fn not_fatal(&self, error: &str) {
        if self.lock().other.pass(1).is_some() {
            warn!(sink = self.sink, "{error}");
        }
    }

    /// The client refuses batches because it is broken.
    pub(super) fn broken(&self) {
        self.lock().suspicion = Some("broken".to_owned());
    }

    /// How many batches a broken client has given back.
    pub(super) fn returned(&self) -> usize {
        self.lock().returned.len()
    }

    /// The broken client has ended: what it surely did not send.
    pub(super) fn take_returned(&self) -> Vec<Shipment> {
        std::mem::take(&mut self.lock().returned)
    }

    /// Logs each change.
    pub(super) fn topic_is_missing(&self, missing: bool, topic: &str) {
        let mut state = self.lock();
        // Whoever is told so was let in.
        state.circumstances.unauthorized = false;
        if std::mem::replace(&mut state.circumstances.topic_missing, missing) != missing {
            if missing {
                error!(
                    sink = self.sink,
                    "there is no topic {topic:?}: create it, with this name or let the broker do so; \
                     records wait half a minute for it and are lost then"
                );
            } else {
                info!(sink = self.sink, "topic {topic:?} is there now");
            }
        }
    }

    /// Notices that nothing is acknowledged though something waits since `oldest`.
    pub(super) fn look_for_silence(&self, waiting: usize, oldest: Instant, patience: Duration) {
        let mut state = self.lock();
        let quiet_since = oldest.max(state.last_acknowledged);
        if matches!(state.condition, Condition::Starting | Condition::Working) && quiet_since.elapsed() >= patience {
            let trouble = state.trouble.clone().unwrap_or_else(|| "no error was reported".to_owned());
            warn!(
                sink = self.sink,
                batches = waiting,
                "nothing was acknowledged for {} s ({trouble}); records wait",
                quiet_since.elapsed().as_secs()
            );
            state.enter(Condition::Silent);
            state.since = quiet_since;
        }
    }

    fn give_up(&self, state: &mut State, why: Loss, shipment: &Shipment, reason: &str) {
        self.account.lost(why, &shipment.batch);
        if state.circumstances.closing.is_some() {
            return; // whoever closes says so, once
        }
        if let Some(records) = state.losses[why as usize].pass(shipment.batch.len() as u64) {
            warn!(sink = self.sink, records, reason = why.name(), "records are lost: {reason}");
        }
    }

    /// A batch that could not even be handed to librdkafka.
    pub(super) fn refused(&self, shipment: &Shipment, code: RDKafkaErrorCode) {
        let mut state = self.lock();
        let why = outcome::loss(code, false, state.circumstances);
        self.give_up(&mut state, why, shipment, &code.to_string());
    }

    /// A batch that nobody will hear of again.
    pub(super) fn lost(&self, shipment: &Shipment, why: Loss) {
        let mut state = self.lock();
        self.give_up(&mut state, why, shipment, "the client ended without a report");
    }
}

impl State {
    fn enter(&mut self, condition: Condition) {
        if self.condition != condition {
            self.condition = condition;
            self.since = Instant::now();
        }
    }
}

impl Reports for KafkaReports {
    fn delivery(&self, shipment: Shipment, outcome: Outcome) {
        let mut state = self.lock();
        match outcome {
            Outcome::Acknowledged => {
                self.account.delivered(&shipment.batch);
                state.last_acknowledged = Instant::now();
                state.circumstances.unauthorized = false;
                if state.condition != Condition::Working {
                    if state.condition == Condition::Starting {
                        info!(sink = self.sink, "delivering");
                    } else {
                        info!(sink = self.sink, "delivering again after {} s", state.since.elapsed().as_secs());
                    }
                    state.enter(Condition::Working);
                    state.trouble = None;
                }
            }
            Outcome::Failed { code, maybe_there } => {
                let purged = matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::Fatal);
                if purged && !maybe_there && !shipment.second_try && state.circumstances.closing.is_none() {
                    state.returned.push(Shipment { second_try: true, ..shipment });
                    return;
                }
                let why = outcome::loss(code, maybe_there, state.circumstances);
                self.give_up(&mut state, why, &shipment, &code.to_string());
            }
        }
    }

    fn error(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut state = self.lock();
        if state.circumstances.closing.is_some() {
            debug!(sink = self.sink, "{reason}");
            return;
        }
        match code {
            _ if outcome::is_refusal(code, reason) => {
                state.trouble = Some(reason.to_owned());
                if state.condition != Condition::Unauthorized {
                    error!(sink = self.sink, "the broker does not let us in: {reason}");
                    state.enter(Condition::Unauthorized);
                }
                state.circumstances.unauthorized = true;
            }
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL => {
                debug!(sink = self.sink, "{reason}");
                if state.condition != Condition::Unauthorized {
                    state.trouble = Some(reason.to_owned());
                }
            }
            RDKafkaErrorCode::AllBrokersDown => {
                if matches!(state.condition, Condition::Starting | Condition::Working | Condition::Silent) {
                    debug!(sink = self.sink, "{reason}");
                    let trouble = state.trouble.as_deref().unwrap_or("the connection was lost");
                    warn!(sink = self.sink, "no broker can be reached ({trouble}); records wait");
                    state.enter(Condition::Unreachable);
                }
            }
            _ => state.suspicion = Some(format!("{code}: {reason}")),
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // Whatever of these concerns records comes as an error event too; only the advice on options does not.
        if facility == "CONFWARN" && !line.contains("allow.auto.create") {
            warn!(sink = self.sink, "librdkafka: {line}");
        } else {
            debug!(sink = self.sink, ?level, facility, "librdkafka: {line}");
        }
    }

    fn statistics(&self, json: &[u8]) {
        debug!(sink = self.sink, "librdkafka: {}", String::from_utf8_lossy(json));
    }
}
