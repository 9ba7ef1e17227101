//! The walk on images in plain memory.
