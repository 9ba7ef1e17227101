//! From librdkafka's words for failure to the ledger's.

use pipeline::ledger::Loss;
use rdkafka::error::RDKafkaErrorCode as Code;

/// What is known beside the message's own error.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// Everything is being given up, under this name.
    pub(super) closing: Option<Loss>,
    /// The brokers refuse our credentials: messages time out, but that is not the reason.
    pub(super) unauthorized: bool,
    /// The topic was asked for and is not there.
    pub(super) topic_missing: bool,
}

/// Failures of TLS that last until someone mends certificates or options. Any other, as a broker in trouble or a proxy in
/// between brings it about, is a connection that broke.
const DISTRUST: [&str; 8] = [
    "certificate",
    "unknown ca",
    "handshake failure",
    "unexpected message",
    "access denied",
    "decrypt error",
    "protocol version",
    "insufficient security",
];

/// What librdkafka calls a failure to authenticate, though nobody answered.
const BROKEN: [&str; 3] = ["Disconnected", "Broker transport failure", "imed out"];

/// Whether the broker does not let us in, or we do not trust it.
pub(super) fn is_refusal(code: Code, reason: &str) -> bool {
    match code {
        Code::Authentication => !BROKEN.iter().any(|part| reason.contains(part)),
        Code::SSL => DISTRUST.iter().any(|part| reason.contains(part)),
        _ => false,
    }
}

/// Under which name a message's records are given up.
pub(super) fn loss(code: Code, maybe_there: bool, circumstances: Circumstances) -> Loss {
    // What was sent may have arrived, whatever we were about to do.
    if let (Code::PurgeQueue | Code::PurgeInflight, false, Some(why)) = (code, maybe_there, circumstances.closing) {
        return why;
    }
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Loss::TooLarge,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            Loss::UnknownTopic
        }
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication => Loss::NotAuthorized,
        _ if maybe_there => Loss::Unacknowledged,
        Code::MessageTimedOut if circumstances.unauthorized => Loss::NotAuthorized,
        Code::MessageTimedOut if circumstances.topic_missing => Loss::UnknownTopic,
        Code::MessageTimedOut => Loss::TimedOut,
        _ => Loss::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_no_refusal() {
        for (code, reason, refusal) in [
            (
                Code::SSL,
                "h:1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker",
                true,
            ),
            (
                Code::SSL,
                "h:1: SSL handshake failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown",
                true,
            ),
            (Code::SSL, "h:1: SSL handshake failed: error:0A000438:SSL routines::tlsv1 alert internal error", false),
            (Code::SSL, "h:1: SSL handshake failed: error:0A00010B:SSL routines::wrong version number", false),
            (Code::SSL, "h:1: SSL handshake failed: SSL transport error: Broken pipe (after 3ms)", false),
            (Code::Authentication, "h:1: SASL authentication error: Authentication failed: Invalid username", true),
            (Code::Authentication, "SASL PLAIN mechanism handshake failed: Local: Broker transport failure", false),
            (Code::BrokerTransportFailure, "h:1: Connect to failed: Connection refused", false),
        ] {
            assert_eq!(is_refusal(code, reason), refusal, "{reason}");
        }
    }

    #[test]
    fn each_failure_has_its_name() {
        let plain = Circumstances::default();
        let unauthorized = Circumstances { unauthorized: true, ..plain };
        let missing = Circumstances { topic_missing: true, ..plain };
        let draining = Circumstances { closing: Some(Loss::DrainTimeout), ..plain };
        for (code, maybe_there, circumstances, name) in [
            (Code::MessageSizeTooLarge, false, plain, Loss::TooLarge),
            (Code::UnknownTopic, false, plain, Loss::UnknownTopic),
            (Code::UnknownTopicOrPartition, false, plain, Loss::UnknownTopic),
            (Code::TopicAuthorizationFailed, false, plain, Loss::NotAuthorized),
            (Code::MessageTimedOut, false, plain, Loss::TimedOut),
            (Code::MessageTimedOut, false, unauthorized, Loss::NotAuthorized),
            (Code::MessageTimedOut, false, missing, Loss::UnknownTopic),
            (Code::MessageTimedOut, true, unauthorized, Loss::Unacknowledged),
            (Code::RequestTimedOut, true, plain, Loss::Unacknowledged),
            (Code::PurgeQueue, false, draining, Loss::DrainTimeout),
            (Code::PurgeInflight, true, draining, Loss::Unacknowledged),
            (Code::PurgeInflight, false, draining, Loss::DrainTimeout),
            (Code::PurgeInflight, true, plain, Loss::Unacknowledged),
            (Code::InvalidMessage, false, plain, Loss::Refused),
        ] {
            assert_eq!(loss(code, maybe_there, circumstances), name, "{code:?} {maybe_there} {circumstances:?}");
        }
    }
}
