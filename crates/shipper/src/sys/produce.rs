//! Batches lent to librdkafka without a copy.
//!
//! librdkafka is told neither to copy nor to free a message's payload (flags 0): it reads the batch's own octets until it
//! says that it is done with them, by the delivery report. Whoever is lent stands in [`Lent`] under a number, which is the
//! message's opaque; a batch leaves that table when its report comes, or when the client no longer exists. A report that
//! came twice, or for a number that was never lent, would find nothing there: nothing is freed twice.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipeline::batch::SharedBatch;
use pipeline::handoff::Doorbell;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, error::KafkaResult};
use rdkafka_sys as ffi;
use rdkafka_sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
use rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
use rdkafka_sys::rd_kafka_vtype_t::{
    RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_OPAQUE,
    RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_TOPIC, RD_KAFKA_VTYPE_VALUE,
};

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct Shipment {
    pub(crate) batch: SharedBatch,
    /// Whether it comes from a client that had to be given up.
    pub(crate) second_try: bool,
    pub(crate) lent: Instant,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// `maybe_there`: it was sent, and the broker may have written it.
    Failed {
        code: RDKafkaErrorCode,
        maybe_there: bool,
    },
}

/// Who is told. Called by the thread that calls [`Lender::serve`], or that drops the lender.
pub(crate) trait Reports: Send + Sync + 'static {
    fn delivery(&self, shipment: Shipment, outcome: Outcome);
    fn error(&self, code: RDKafkaErrorCode, reason: &str);
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str);
    fn statistics(&self, json: &[u8]);
}

/// What librdkafka may still read.
#[derive(Debug, Default)]
struct Lent {
    table: Mutex<(usize, HashMap<usize, Shipment>)>,
}

impl Lent {
    fn lock(&self) -> MutexGuard<'_, (usize, HashMap<usize, Shipment>)> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, shipment: Shipment) -> usize {
        let (next, table) = &mut *self.lock();
        *next += 1;
        table.insert(*next, shipment);
        *next
    }

    fn take(&self, number: usize) -> Option<Shipment> {
        self.lock().1.remove(&number)
    }
}

/// librdkafka's events as they come from rdkafka's polling.
struct Context<R: Reports> {
    reports: Arc<R>,
    lent: Arc<Lent>,
    /// Events seen: polling goes on while this grows, since one call handles one event and does not say whether it did.
    events: AtomicU64,
}

impl<R: Reports> Context<R> {
    fn count(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Reports> ClientContext for Context<R> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.count();
        self.reports.log(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.count();
        self.reports.statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count();
        self.reports.error(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown), reason);
    }
}

impl<R: Reports> ProducerContext for Context<R> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.count();
        let Some(shipment) = self.lent.take(number) else { return };
        let outcome = match result {
            Ok(_) => Outcome::Acknowledged,
            Err((error, message)) => {
                // SAFETY: the message is librdkafka's own, alive during this call.
                let status = unsafe { ffi::rd_kafka_message_status(message.ptr()) };
                Outcome::Failed {
                    code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
                    maybe_there: status != RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
                }
            }
        };
        self.reports.delivery(shipment, outcome);
    }
}

/// Wakes the sink's thread when librdkafka has something to say.
struct Wake {
    bell: Doorbell,
    news: AtomicBool,
}

/// Called by librdkafka's threads, with its queue locked, when that queue is no longer empty.
unsafe extern "C" fn wake_up(_client: *mut ffi::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: the pointer is that of the `Wake` which `Lender` keeps until after this callback is off.
    let wake = unsafe { &*wake.cast::<Wake>() };
    wake.news.store(true, Ordering::Release);
    wake.bell.ring();
}

/// A reference to librdkafka's event queue, with our callback on it.
struct Bellpull(*mut ffi::rd_kafka_queue_t);

impl Bellpull {
    fn attach<R: Reports>(producer: &BaseProducer<Context<R>>, wake: &Arc<Wake>) -> Self {
        // SAFETY: the client exists; the reference to its queue is given back in `drop`.
        let queue = unsafe { ffi::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        // SAFETY: the queue exists, and `wake` lives until `drop` has taken the callback off (order of Lender's fields).
        unsafe { ffi::rd_kafka_queue_cb_event_enable(queue, Some(wake_up), Arc::as_ptr(wake).cast_mut().cast()) };
        Self(queue)
    }
}

impl Drop for Bellpull {
    fn drop(&mut self) {
        // SAFETY: the queue exists until the next line. The call takes the lock under which the callback runs.
        unsafe { ffi::rd_kafka_queue_cb_event_enable(self.0, None, ptr::null_mut()) };
        // SAFETY: our reference, given back once.
        unsafe { ffi::rd_kafka_queue_destroy(self.0) };
    }
}

/// A producer that batches are lent to. The fields are dropped in this order, and that matters: no callback any more, then
/// no client any more, and only then what the client could read or call.
pub(crate) struct Lender<R: Reports> {
    bellpull: Bellpull,
    producer: BaseProducer<Context<R>>,
    lent: Arc<Lent>,
    wake: Arc<Wake>,
    topic: CString,
}

impl<R: Reports> Lender<R> {
    pub(crate) fn new(config: &ClientConfig, topic: CString, reports: Arc<R>, bell: &Doorbell) -> KafkaResult<Self> {
        let lent = Arc::new(Lent::default());
        let context = Context { reports, lent: Arc::clone(&lent), events: AtomicU64::new(0) };
        let producer: BaseProducer<Context<R>> = config.create_with_context(context)?;
        let wake = Arc::new(Wake { bell: bell.clone(), news: AtomicBool::new(true) });
        Ok(Self { bellpull: Bellpull::attach(&producer, &wake), producer, lent, wake, topic })
    }

    /// Lends a batch. On failure nothing is lent and the shipment comes back.
    pub(crate) fn lend(
        &self,
        mut shipment: Shipment,
        key: &str,
        headers: &[(&CStr, String); 6],
    ) -> Result<(), (RDKafkaErrorCode, Shipment)> {
        shipment.lent = Instant::now();
        let batch = shipment.batch.clone();
        let payload = batch.as_json_array();
        let number = self.lent.put(shipment);
        let [h0, h1, h2, h3, h4, h5] = headers;
        // SAFETY: pairs and triples are as rdkafka.h declares them for each tag (sizes are pointer-wide, partition and flags
        // are int). Topic, key and headers are copied by the call. The payload is read until the delivery report: its batch
        // stands in `lent` until then, and its octets neither move nor change (`pipeline::batch`); the pointer is mutable by
        // C's habit only, as nobody writes through it without RD_KAFKA_MSG_F_FREE.
        let error = unsafe {
            #[rustfmt::skip]
            let error = ffi::rd_kafka_producev(
                self.producer.client().native_ptr(),
                RD_KAFKA_VTYPE_TOPIC, self.topic.as_ptr(),
                RD_KAFKA_VTYPE_PARTITION, -1_i32,
                RD_KAFKA_VTYPE_MSGFLAGS, 0_i32,
                RD_KAFKA_VTYPE_VALUE, payload.as_ptr().cast_mut().cast::<c_void>(), payload.len(),
                RD_KAFKA_VTYPE_KEY, key.as_ptr().cast::<c_void>(), key.len(),
                RD_KAFKA_VTYPE_OPAQUE, ptr::without_provenance_mut::<c_void>(number),
                RD_KAFKA_VTYPE_HEADER, h0.0.as_ptr(), h0.1.as_ptr().cast::<c_void>(), h0.1.len(),
                RD_KAFKA_VTYPE_HEADER, h1.0.as_ptr(), h1.1.as_ptr().cast::<c_void>(), h1.1.len(),
                RD_KAFKA_VTYPE_HEADER, h2.0.as_ptr(), h2.1.as_ptr().cast::<c_void>(), h2.1.len(),
                RD_KAFKA_VTYPE_HEADER, h3.0.as_ptr(), h3.1.as_ptr().cast::<c_void>(), h3.1.len(),
                RD_KAFKA_VTYPE_HEADER, h4.0.as_ptr(), h4.1.as_ptr().cast::<c_void>(), h4.1.len(),
                RD_KAFKA_VTYPE_HEADER, h5.0.as_ptr(), h5.1.as_ptr().cast::<c_void>(), h5.1.len(),
                RD_KAFKA_VTYPE_END,
            );
            error
        };
        if error == RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        // A message that was not taken has no report.
        match self.lent.take(number) {
            Some(shipment) => Err((error.into(), shipment)),
            None => Ok(()),
        }
    }

    /// Handles all events that wait.
    pub(crate) fn serve(&self) {
        self.wake.news.store(false, Ordering::SeqCst);
        let events = &self.producer.context().events;
        loop {
            let before = events.load(Ordering::Relaxed);
            self.producer.poll(Duration::ZERO);
            if events.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// Whether `serve` would find something.
    pub(crate) fn has_news(&self) -> bool {
        self.wake.news.load(Ordering::Acquire)
    }

    /// Messages without a report yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.lent.lock().1.len()
    }

    /// When the oldest of them was lent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.lent.lock().1.values().map(|shipment| shipment.lent).min()
    }

    /// Asks librdkafka to give up what it has; the reports come with the next `serve`.
    pub(crate) fn purge(&self) {
        // Not waiting for its threads: one that looks up a name can take half a minute.
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    pub(crate) fn client(&self) -> &rdkafka::client::Client<impl ClientContext + use<R>> {
        self.producer.client()
    }

    /// What ends the client, in whichever thread it is called, and returns what that never reported: nobody reads those
    /// batches any more.
    pub(crate) fn into_end(self) -> impl FnOnce() -> Vec<Shipment> + Send + use<R> {
        let Self { bellpull, producer, lent, wake, topic: _ } = self;
        drop(bellpull);
        move || {
            drop(producer);
            drop(wake);
            lent.lock().1.drain().map(|(_, shipment)| shipment).collect()
        }
    }

    /// Makes the client fail as a broken sequence would.
    #[cfg(test)]
    pub(crate) fn break_it(&self) {
        // SAFETY: the client exists and the text ends with NUL; librdkafka offers this for tests.
        unsafe {
            ffi::rd_kafka_test_fatal_error(
                self.producer.client().native_ptr(),
                ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"broken on purpose".as_ptr(),
            )
        };
    }
}
