//! The Kafka sink: one message per batch, its octets lent to librdkafka and settled by its delivery report.

mod options;
mod outcome;
mod probe;
mod read;
mod reports;
mod retire;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::SCHEMA_VERSION;
use pipeline::batch::SharedBatch;
use pipeline::handoff::Doorbell;
use pipeline::ledger::Loss;
use rdkafka::error::RDKafkaErrorCode;
use tracing::{error, info};

pub use probe::ProbeError;
pub(crate) use probe::probe;
pub use read::TopicReader;

use crate::account::Account;
use crate::config::KafkaConfig;
use crate::drive::{Progress, Sink};
use crate::error::SinkError;
use crate::handle::Workers;
use crate::sys::produce::{Lender, Shipment};
use reports::KafkaReports;
use retire::Retiring;

/// After this long without an acknowledgement, while some are waited for, it is worth a line in the log.
const SILENCE: Duration = Duration::from_secs(10);
/// How long librdkafka may take to report what was purged.
const PURGE: Duration = Duration::from_millis(1000);
/// Between two clients, when they fail one after the other.
const RENEWAL: Duration = Duration::from_secs(2);

/// What is left to librdkafka, and what waits in the lanes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Batches that librdkafka has at most: as many as it sends before the first is acknowledged. It would look for a chance to send
    /// more without a pause, with a whole core.
    window: usize,
    /// How old a batch may become that waits, as librdkafka does with those that it has. `None` for ever.
    patience: Option<Duration>,
}

pub(crate) struct KafkaSink {
    config: KafkaConfig,
    workers: Workers,
    name: String,
    bell: Doorbell,
    reports: Arc<KafkaReports>,
    limits: Limits,
    lender: Option<Lender<KafkaReports>>,
    /// The client before, as long as it has not ended.
    retiring: Option<Retiring>,
    renewed: Instant,
    /// To be sent before anything else: what an earlier client did not send.
    again: VecDeque<Shipment>,
    topic: TopicCheck,
}

impl KafkaSink {
    pub(crate) fn open(
        config: &KafkaConfig,
        workers: &Workers,
        name: &str,
        account: &Arc<Account>,
        bell: &Doorbell,
    ) -> Result<Self, SinkError> {
        let mut sink = Self {
            limits: options::limits(config, workers)?,
            config: config.clone(),
            workers: workers.clone(),
            name: name.to_owned(),
            bell: bell.clone(),
            reports: Arc::new(KafkaReports::new(name, account)),
            lender: None,
            retiring: None,
            renewed: Instant::now(),
            again: VecDeque::new(),
            topic: TopicCheck::default(),
        };
        sink.lender = Some(sink.client()?);
        Ok(sink)
    }

    fn client(&self) -> Result<Lender<KafkaReports>, SinkError> {
        let options = options::producer(&self.config, &self.workers.sensor, self.workers.count * self.workers.buffers)?;
        let topic = CString::new(self.config.topic.as_str()).map_err(|e| SinkError::KafkaClient(e.to_string()))?;
        Lender::new(&options, topic, Arc::clone(&self.reports), &self.bell).map_err(options::creation_error)
    }

    fn send(&self, shipment: Shipment) -> Result<(), Shipment> {
        let Some(lender) = &self.lender else { return Err(shipment) };
        let meta = *shipment.batch.meta();
        let key = format!("{}/{}", self.workers.sensor, meta.queue);
        let headers: [(&CStr, String); 6] = [
            (c"ringtap.sensor", self.workers.sensor.clone()),
            (c"ringtap.queue", meta.queue.to_string()),
            (c"ringtap.first_sequence", meta.first_sequence.to_string()),
            (c"ringtap.last_sequence", meta.last_sequence.to_string()),
            (c"ringtap.count", shipment.batch.len().to_string()),
            (c"ringtap.schema", SCHEMA_VERSION.to_string()),
        ];
        match lender.lend(shipment, &key, &headers) {
            Ok(()) => Ok(()),
            Err((RDKafkaErrorCode::QueueFull, shipment)) => Err(shipment),
            Err((RDKafkaErrorCode::Fatal, shipment)) => {
                self.reports.broken();
                Err(shipment)
            }
            Err((code, shipment)) => {
                self.reports.refused(&shipment, code);
                Ok(())
            }
        }
    }

    fn send_again(&mut self) {
        while let Some(shipment) = self.again.pop_front() {
            if let Err(shipment) = self.send(shipment) {
                self.again.push_front(shipment);
                return;
            }
        }
    }

    /// An idempotent producer that lost count can only be replaced. What it surely did not send is sent by the next one,
    /// in the same order; what it may have sent is not, since that could double it.
    fn renew(&mut self, code: RDKafkaErrorCode, reason: &str) {
        let Some(lender) = self.lender.take() else { return };
        error!(sink = self.name, "the Kafka client can go on no more and is replaced: {code}: {reason}");
        settle_purged(&lender, &self.bell);
        let unsettled = lender.in_flight();
        self.retiring = Some(Retiring::start(lender.into_end(), unsettled, &self.bell));
        self.renewed = Instant::now();
    }

    /// Once the client before has ended: what it did not send comes first. Until then there is no next one, which could
    /// overtake it.
    fn succeed(&mut self) {
        if let Some(retiring) = self.retiring.take_if(|retiring| retiring.is_over()) {
            for shipment in &retiring.join() {
                self.reports.lost(shipment, Loss::Unacknowledged);
            }
            let mut returned = self.reports.take_returned();
            returned.extend(self.again.drain(..));
            returned.sort_by_key(|shipment| (shipment.batch.meta().queue, shipment.batch.meta().first_sequence));
            self.again = returned.into();
            // Whatever its end reported is of the past.
            self.reports.take_suspicion();
        }
        if self.retiring.is_none() {
            self.revive();
        }
    }

    /// Makes the next client, not too soon after the last.
    fn revive(&mut self) {
        if self.renewed.elapsed() < RENEWAL {
            return;
        }
        self.renewed = Instant::now();
        match self.client() {
            Ok(lender) => {
                info!(sink = self.name, "there is a new Kafka client");
                self.lender = Some(lender);
            }
            Err(error) => error!(sink = self.name, "no new Kafka client: {error}"),
        }
    }
}

/// Purges, and waits a moment for the reports.
fn settle_purged(lender: &Lender<KafkaReports>, bell: &Doorbell) {
    let deadline = Instant::now() + PURGE;
    lender.purge();
    loop {
        lender.serve();
        let left = deadline.saturating_duration_since(Instant::now());
        if lender.in_flight() == 0 || left.is_zero() {
            return;
        }
        bell.sleep(left.min(Duration::from_millis(50)), || lender.has_news());
    }
}

impl Sink for KafkaSink {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        let full = self.lender.as_ref().is_none_or(|lender| lender.in_flight() >= self.limits.window);
        let waits = !self.again.is_empty() || full;
        if waits && self.limits.patience.is_none_or(|patience| batch.meta().closed.elapsed() < patience) {
            return Err(batch);
        }
        let shipment = Shipment { batch, second_try: false, lent: Instant::now() };
        if waits {
            self.reports.refused(&shipment, RDKafkaErrorCode::MessageTimedOut);
            return Ok(());
        }
        self.send(shipment).map_err(|shipment| shipment.batch)
    }

    fn serve(&mut self) {
        if let Some(lender) = &self.lender {
            lender.serve();
            if let Some(suspicion) = self.reports.take_suspicion() {
                match lender.client().fatal_error() {
                    Some((code, reason)) => self.renew(code, &reason),
                    None => self.reports.not_fatal(&suspicion),
                }
            }
        } else {
            self.succeed();
        }
        self.send_again();
        if let Some(lender) = &self.lender {
            self.topic.ask(lender, &self.config.topic, &self.reports);
            if let Some(oldest) = lender.oldest() {
                self.reports.look_for_silence(lender.in_flight(), oldest, SILENCE);
            }
        }
    }

    fn progress(&self) -> Progress {
        let Some(lender) = &self.lender else {
            let retiring = self.retiring.as_ref().map_or(0, Retiring::unsettled);
            let in_flight = retiring + self.again.len() + self.reports.returned();
            return Progress { in_flight, look_again: RENEWAL / 4 };
        };
        // Batches that a broken client gave back are in neither place until it is replaced.
        let in_flight = lender.in_flight() + self.again.len() + self.reports.returned();
        // Reports ring the bell; this is for what only time brings.
        let look_again = Duration::from_millis(if in_flight > 0 { 500 } else { 2000 });
        Progress { in_flight, look_again: look_again.min(self.topic.due()) }
    }

    fn has_news(&self) -> bool {
        self.lender.as_ref().is_some_and(Lender::has_news) || self.retiring.as_ref().is_some_and(Retiring::is_over)
    }

    fn give_up(&mut self, why: Loss) {
        self.reports.close_as(why);
        for shipment in self.again.drain(..).chain(self.reports.take_returned()) {
            self.reports.lost(&shipment, why);
        }
        if let Some(lender) = &self.lender {
            settle_purged(lender, &self.bell);
        }
        // What has no report by now is settled when the account is closed, and its memory when the client has ended.
    }
}

/// Whether the topic exists: asked until that is known, since librdkafka says it only after half a minute, and asked again
/// while it does not, since librdkafka itself would notice a new topic after five minutes.
#[derive(Debug)]
struct TopicCheck {
    next: Option<Instant>,
}

impl Default for TopicCheck {
    fn default() -> Self {
        Self { next: Some(Instant::now()) }
    }
}

impl TopicCheck {
    /// How long the sink's thread waits for an answer; meanwhile librdkafka's threads go on sending.
    const PATIENCE: Duration = Duration::from_millis(200);
    const PERIOD: Duration = Duration::from_secs(3);

    fn ask(&mut self, lender: &Lender<KafkaReports>, topic: &str, reports: &KafkaReports) {
        if self.next.is_none_or(|next| Instant::now() < next) {
            return;
        }
        let answer = lender.client().fetch_metadata(Some(topic), Self::PATIENCE);
        let error = answer.ok().map(|metadata| metadata.topics().first().and_then(|topic| topic.error()));
        let known = error.map(|error| error.map(RDKafkaErrorCode::from));
        match known {
            Some(Some(RDKafkaErrorCode::UnknownTopicOrPartition)) => reports.topic_is_missing(true, topic),
            Some(None) => {
                reports.topic_is_missing(false, topic);
                self.next = None;
                return;
            }
            _ => {}
        }
        self.next = Some(Instant::now() + Self::PERIOD);
    }

    fn due(&self) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }
}
