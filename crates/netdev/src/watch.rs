//! When to look at the interface, and what changed since the last look.
//!
//! Pure state: the time and the sight are given, the queue acts on the answer.

use std::time::{Duration, Instant};

use crate::device::Sight;

const WHILE_UP: Duration = Duration::from_secs(1);
const WHILE_AWAY: Duration = Duration::from_millis(200);

/// The interface's state as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Set up by the administrator.
    Up,
    /// Not set up.
    Down,
    /// Gone.
    Deleted,
}

/// What has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It was up and is not.
    WentDown,
    /// It was down or deleted.
    CameUp,
    /// It is gone.
    WasDeleted,
}

/// Remembers an interface's state and when to look again.
#[derive(Debug)]
pub struct Watch {
    /// As last seen.
    pub link: Link,
    /// When to look again: once a second, more often while the interface is away.
    pub next: Instant,
    /// Why a deleted interface could not be opened again, as last told.
    pub obstacle: Option<String>,
}

impl Watch {
    /// Of an interface that is up, to be looked at at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { link: Link::Up, next: now, obstacle: None }
    }

    /// The kernel told of an error: look again at once.
    pub fn went_down(&mut self, now: Instant) -> Change {
        self.next = now;
        if self.link == Link::Up {
            self.link = Link::Down;
            return Change::WentDown;
        }
        Change::None
    }

    /// Takes in what was seen, and plans the next look.
    pub fn saw(&mut self, sight: &Sight, now: Instant) -> Change {
        let link = match sight {
            Sight::Deleted => Link::Deleted,
            Sight::Present { up: true, .. } => Link::Up,
            Sight::Present { up: false, .. } => Link::Down,
        };
        self.next = now + if link == Link::Up { WHILE_UP } else { WHILE_AWAY };
        let before = std::mem::replace(&mut self.link, link);
        match (before, link) {
            (Link::Up, Link::Down) => Change::WentDown,
            (Link::Down | Link::Deleted, Link::Up) => Change::CameUp,
            (Link::Up | Link::Down, Link::Deleted) => Change::WasDeleted,
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(up: bool) -> Sight {
        Sight::Present { name: "eth0".into(), up, mtu: 1500 }
    }

    #[test]
    fn each_change_is_told_once() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        assert_eq!(watch.saw(&present(true), now), Change::None);
        assert_eq!(watch.next, now + WHILE_UP);
        assert_eq!(watch.went_down(now), Change::WentDown);
        assert_eq!(watch.went_down(now), Change::None);
        assert_eq!(watch.next, now);
        assert_eq!(watch.saw(&present(false), now), Change::None);
        assert_eq!(watch.next, now + WHILE_AWAY);
        assert_eq!(watch.saw(&present(true), now), Change::CameUp);
        assert_eq!(watch.saw(&Sight::Deleted, now), Change::WasDeleted);
        assert_eq!(watch.saw(&Sight::Deleted, now), Change::None);
        assert_eq!(watch.saw(&present(true), now), Change::CameUp);
    }
}
