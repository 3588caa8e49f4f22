//! The bundled call (assets/speech): what an agent and a customer say, µ-law of 8 kHz, both equally long.

/// The agent's side.
pub static AGENT: &[u8] = include_bytes!("../../assets/speech/agent.ulaw");

/// The customer's side.
pub static CUSTOMER: &[u8] = include_bytes!("../../assets/speech/customer.ulaw");
