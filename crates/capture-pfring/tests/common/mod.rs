//! What the tests of this crate share: the model of the module in the place of the kernel.
#![allow(dead_code, unused_imports, reason = "not every test file uses all of it")]

use std::io;
use std::time::Duration;

use capture::{BpfInstruction, CaptureError, LinkType, RxBatch, RxQueue};
use capture_pfring::sys::memory::Memory;
use capture_pfring::sys::socket::{Companions, Polled, Socket, System};
use capture_pfring::{Options, Queue, open_with};
use netdev::{Device, Promiscuous};
use testkit::model::pfring;
pub(crate) use testkit::model::pfring::{Call, INDEX, Module, Settings};

/// The name of the model's interface.
pub(crate) const NAME: &str = "pf0";

/// The model as a kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(pub(crate) Module);

pub(crate) struct ModelSocket(pfring::Socket);

pub(crate) type ModelQueue = Queue<Model>;

impl System for Model {
    type Socket = ModelSocket;

    fn socket(&self) -> io::Result<ModelSocket> {
        self.0.socket().map(ModelSocket).map_err(io::Error::from_raw_os_error)
    }

    fn device(&self, name: &str) -> Result<Device, CaptureError> {
        if name == NAME {
            Ok(Device { index: INDEX, link_type: LinkType::ETHERNET, loopback: false })
        } else {
            Err(CaptureError::NoSuchInterface { name: name.to_owned() })
        }
    }

    fn companions(&self, _: &str, _: Device, _: usize) -> Result<Companions, CaptureError> {
        Ok(Companions::default())
    }

    fn promiscuous(&self, _: &Device) -> Result<Option<Promiscuous>, CaptureError> {
        Ok(None)
    }

    fn parameter(&self, name: &str) -> Option<u32> {
        self.0.parameter(name)
    }

    fn settle(&self) {}
}

impl Socket for ModelSocket {
    fn set(&self, option: i32, value: &[u8]) -> io::Result<()> {
        self.0.set(option, value).map_err(io::Error::from_raw_os_error)
    }

    fn get(&self, option: i32, value: &mut [u8]) -> io::Result<usize> {
        self.0.get(option, value).map_err(io::Error::from_raw_os_error)
    }

    fn attach(&self, program: &[BpfInstruction]) -> io::Result<()> {
        self.0.attach(program);
        Ok(())
    }

    fn bind(&self, address: &[u8; 20]) -> io::Result<()> {
        self.0.bind(address).map_err(io::Error::from_raw_os_error)
    }

    fn map(&self, length: usize) -> io::Result<Memory> {
        self.0.map(length).map(|words| Memory::shared(words, length)).map_err(io::Error::from_raw_os_error)
    }

    fn poll(&self, timeout: Duration) -> io::Result<Polled> {
        Ok(if self.0.poll(timeout) { Polled::Ready } else { Polled::Nothing })
    }
}

/// Opens the model's interface.
pub(crate) fn open(model: &Model, change: impl FnOnce(&mut Options)) -> Result<Vec<ModelQueue>, CaptureError> {
    let mut options = Options::new(NAME);
    change(&mut options);
    open_with(model.clone(), &options)
}

/// The only queue.
pub(crate) fn open_one(model: &Model, change: impl FnOnce(&mut Options)) -> ModelQueue {
    let mut queues = open(model, change).expect("the interface can be opened");
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

/// The octets of all frames that are there.
pub(crate) fn drain<Q: RxQueue>(queue: &mut Q) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
        frames.extend(batch.frames().map(|frame| frame.data.to_vec()));
    }
    frames
}
