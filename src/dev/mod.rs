//! The dev room.
