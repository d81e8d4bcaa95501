//! The guide, by task: what no single item documents. It holds text and pictures, and no code.
//!
//! | page | for whom | answers |
//! |---|---|---|
//! | [`operations`] | operators | how to run a gateway, drain it, stop it, and what to alert on |
//! | [`architecture`] | authors, maintainers | how it holds together, and how a request closes the gate |
//! | [`testing`] | authors | how to test code that embeds a gateway |
//! | [`verification`] | reviewers | what is shown, how, and how to cite it |
//! | [`requirements`] | reviewers | the key to `R` and `F` |
//! | [`incidents`] | reviewers | the key to `I` and `U`: what went wrong elsewhere, and what prevents it here |
//! | [`compatibility`] | users of the original | what works together, and where we differ |

#[doc = include_str!("guide/pictures.md")]
#[doc = include_str!("guide/architecture.md")]
pub mod architecture {}

#[doc = include_str!("guide/compatibility.md")]
pub mod compatibility {}

#[doc = include_str!("guide/incidents.md")]
// Names of tests are long: they may break, so that the other columns have room.
#[doc = "<style>.docblock td code { overflow-wrap: anywhere; white-space: normal; }</style>"]
pub mod incidents {}

#[doc = include_str!("guide/operations.md")]
pub mod operations {}

#[doc = include_str!("guide/requirements.md")]
pub mod requirements {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/verification.md")]
pub mod verification {}
