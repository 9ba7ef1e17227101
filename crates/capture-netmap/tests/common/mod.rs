//! The model of the module in the place of /dev/netmap, and what the tests do with it.
#![allow(dead_code, unreachable_pub)] // each test target uses a part

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capture::{CaptureError, RxBatch, RxQueue};
use capture_netmap::over::{self, Kernel};
use capture_netmap::{Options, Queue, Tx, TxOptions};
use testkit::model::netmap::{Descriptor, Module};

/// A descriptor of the model, which may write down what is asked of it.
pub struct Modelled {
    descriptor: Descriptor,
    log: Option<Log>,
}

/// What was asked of the module, in order.
pub type Log = Arc<Mutex<Vec<Call>>>;

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The request's number, the header and the request's structure as they were passed.
    Control(u32, Vec<u8>, Vec<u8>),
    Sync(u32),
    Poll(i16),
}

impl Kernel for Modelled {
    fn control(&self, request: u32, header: &mut [u8], body: &mut [u8]) -> io::Result<()> {
        self.note(Call::Control(request, header.to_vec(), body.to_vec()));
        self.descriptor.control(request, header, body).map_err(io::Error::from_raw_os_error)
    }

    fn sync(&self, request: u32) -> io::Result<()> {
        self.note(Call::Sync(request));
        self.descriptor.sync(request).map_err(io::Error::from_raw_os_error)
    }

    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        self.note(Call::Poll(events));
        Ok(self.descriptor.poll(events, timeout))
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.descriptor.memory()
    }
}

impl Modelled {
    fn note(&self, call: Call) {
        if let Some(log) = &self.log {
            log.lock().expect("no test panics while it notes").push(call);
        }
    }
}

pub fn opener(module: &Module) -> impl FnMut() -> io::Result<Box<dyn Kernel>> {
    let module = module.clone();
    move || Ok(Box::new(Modelled { descriptor: module.open(), log: None }))
}

/// The same, and all calls are written down.
pub fn noting(module: &Module, log: &Log) -> impl FnMut() -> io::Result<Box<dyn Kernel>> {
    let (module, log) = (module.clone(), Arc::clone(log));
    move || Ok(Box::new(Modelled { descriptor: module.open(), log: Some(Arc::clone(&log)) }))
}

pub fn open(module: &Module, options: &Options) -> Result<Vec<Queue>, CaptureError> {
    over::open(options, opener(module))
}

/// The only queue of a port.
pub fn queue(module: &Module, options: &Options) -> Queue {
    let mut queues = open(module, options).expect("the port can be opened");
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

pub fn tx(module: &Module, port: &str) -> Tx {
    over::tx(&TxOptions::new(port), opener(module)).expect("the port can be opened")
}

/// Options of a VALE port that lend whole frames.
pub fn whole(port: &str) -> Options {
    let mut options = Options::new(port);
    options.snaplen = 262_144;
    options
}

/// All frames that the queue has now.
pub fn take(queue: &mut Queue) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
        frames.extend(batch.frames().map(|frame| frame.data.to_vec()));
    }
    frames
}
