//! `[routing]` of the configuration.

use serde::{Deserialize, Serialize};

/// Where calls may go and come from beyond the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSettings {
    /// Networks that calls may go to and trunks may stand in though they are not public, as "10.1.0.0/16".
    pub private_networks: Vec<String>,
}
