//! The guide, by task: what no single item documents. It holds text and no code.

#[doc = include_str!("guide/operations.md")]
pub mod operations {}
