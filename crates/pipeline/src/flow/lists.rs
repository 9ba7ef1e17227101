//! Rows of flows: doubly linked lists in one array, so that a flow can leave from the middle.

use crate::sys::{prefetch, vec};

/// Some lists, in each of which a flow is at most once, and in one of them at a time.
#[derive(Debug)]
pub(super) struct Lists {
    /// The heads, then the flows: what comes before and after each. A list is a ring that goes through its head.
    links: Vec<[u32; 2]>,
    heads: u32,
}

const BEFORE: usize = 0;
const AFTER: usize = 1;

impl Lists {
    /// `most`: how many flows there may be.
    pub(super) fn new(lists: usize, most: usize) -> Self {
        let heads = lists as u32;
        let mut links = vec::with_room(lists + most);
        links.extend((0..heads).map(|head| [head, head]));
        Self { links, heads }
    }

    /// Octets that a flow takes.
    pub(super) const FLOW: usize = size_of::<[u32; 2]>();

    /// Room for the next flow, which is in no list.
    pub(super) fn grow(&mut self) {
        let node = self.links.len() as u32;
        self.links.push([node, node]);
    }

    fn link(&mut self, before: u32, after: u32) {
        self.links[before as usize][AFTER] = after;
        self.links[after as usize][BEFORE] = before;
    }

    /// Appends a flow, which is in no list.
    #[inline]
    pub(super) fn append(&mut self, list: usize, flow: u32) {
        let (head, node) = (list as u32, flow + self.heads);
        let last = self.links[list][BEFORE];
        self.link(last, node);
        self.link(node, head);
    }

    /// Puts a flow, which is in no list, before all that a list has.
    #[inline]
    pub(super) fn prepend(&mut self, list: usize, flow: u32) {
        let (head, node) = (list as u32, flow + self.heads);
        let first = self.links[list][AFTER];
        self.link(head, node);
        self.link(node, first);
    }

    /// A flow will be taken out soon.
    #[inline]
    pub(super) fn approach(&self, flow: u32) {
        prefetch::all(&self.links[(flow + self.heads) as usize]);
    }

    /// Takes a flow out of the list that it is in, if any.
    #[inline]
    pub(super) fn take_out(&mut self, flow: u32) {
        let node = flow + self.heads;
        let [before, after] = self.links[node as usize];
        self.link(before, after);
        self.links[node as usize] = [node, node];
    }

    /// The first flow of a list.
    #[inline]
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        let first = self.links[list][AFTER];
        (first != list as u32).then(|| first - self.heads)
    }

    /// Puts all of a list before what another has.
    pub(super) fn put_before(&mut self, list: usize, other: usize) {
        let [last, first] = self.links[list];
        if first == list as u32 {
            return;
        }
        let next = self.links[other][AFTER];
        self.link(other as u32, first);
        self.link(last, next);
        self.links[list] = [list as u32; 2];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lists: &mut Lists, list: usize) -> Vec<u32> {
        let mut found = vec![];
        while let Some(first) = lists.first(list) {
            found.push(first);
            lists.take_out(first);
        }
        found
    }

    #[test]
    fn flows_come_in_order_and_leave_from_anywhere() {
        let mut lists = Lists::new(3, 6);
        (0..6).for_each(|_| lists.grow());
        for flow in [3, 1, 4, 0] {
            lists.append(1, flow);
        }
        lists.append(2, 5);
        lists.take_out(1);
        lists.take_out(1);
        lists.put_before(1, 2);
        lists.put_before(0, 2);
        lists.put_before(2, 0);
        assert_eq!((lists.first(1), lists.first(2)), (None, None));
        assert_eq!(all(&mut lists, 0), [3, 4, 0, 5]);
        lists.append(0, 2);
        lists.prepend(0, 4);
        assert_eq!(all(&mut lists, 0), [4, 2]);
    }
}
