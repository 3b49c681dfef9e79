//! Why something is missing: one list per account.

/// A closed list of reasons.
pub trait Reason: Copy + 'static {
    /// All of them, in the order of [`Reason::index`].
    const ALL: &'static [Self];

    /// The name in metrics and JSON.
    fn name(self) -> &'static str;

    /// Place in [`Reason::ALL`].
    fn index(self) -> usize;
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Reason for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

reasons! {
    /// Why a record was not read.
    Lost {
        /// The ring had no room (counted in the kernel).
        RingFull "ring_full",
        /// The record did not have the layout both sides agreed on.
        Malformed "malformed",
    }

    /// What the probes could not even make a record of.
    Missed {
        /// The kernel skipped a program that was already running.
        Recursion "recursion",
        /// A map had no room for a socket.
        MapFull "map_full",
        /// The bytes of a call could not be read.
        Fault "fault",
        /// The bytes are in pages of the kernel.
        KernelPages "kernel_pages",
        /// A call brought more than a record can hold.
        Oversized "oversized",
        /// A call on an MPTCP socket went past the hooks.
        Mptcp "mptcp",
        /// A `splice` from a socket went past the hooks.
        SpliceRead "splice_read",
        /// A call on a socket in a sockmap went past the hooks.
        Sockmap "sockmap",
        /// A socket was given to the kernel's TLS: its calls go past the hooks.
        KernelTls "kernel_tls",
    }

    /// Why nobody wants an exchange.
    NotSelected {
        /// No policy matches the workload.
        NoPolicy "no_policy",
        /// The policy names a backend that does not exist.
        UnknownBackend "unknown_backend",
        /// The policy's backend is of a kind that cannot be sent to.
        UnsupportedBackend "unsupported_backend",
        /// The policy traces only services that are tagged as HTTP.
        NotHttp "not_http",
        /// There are policies, and no Dataplane names the workload.
        NoDataplane "no_dataplane",
        /// The workload's Dataplane has no inbound at the port.
        NoInbound "no_inbound",
        /// No Dataplane has the address that was called, so nobody says that
        /// it is HTTP.
        UnknownDestination "unknown_destination",
        /// The workload is excluded by a selector.
        ExcludedWorkload "excluded_workload",
        /// The port is excluded by a selector.
        ExcludedPort "excluded_port",
        /// The path is excluded.
        ExcludedPath "excluded_path",
        /// It carries no trace context and `headerless = "ignore"`.
        Headerless "headerless",
        /// It was seen at the end that is not observed.
        OtherSide "other_side",
        /// It is the agent's own.
        OwnTraffic "own_traffic",
    }

    /// Why an exchange was not sampled.
    NotSampled {
        /// The request carries a deny.
        Denied "denied",
        /// The sampler said no.
        Sampler "sampler",
        /// The rate limit was used up.
        RateLimit "rate_limit",
    }

    /// Why an exchange never became a span.
    Dropped {
        /// A stage could not keep up with the one before.
        Overload "overload",
        /// Its owner did not become known in time.
        UnknownOwner "unknown_owner",
        /// The agent stopped before it was over.
        Shutdown "shutdown",
    }

    /// Why a span did not reach its backend.
    Undelivered {
        /// The queue was full: the newest batch went, or the oldest.
        QueueFull "queue_full",
        /// The server refused the span for good (4xx but 408, 425 and 429, or
        /// 3xx), alone or in a batch of which no part fared better.
        Rejected "rejected",
        /// The server did not take the batch in the time allowed.
        GaveUp "gave_up",
        /// The grace time at shutdown was over.
        Shutdown "shutdown",
        /// The encoding cannot express the span.
        Encode "encode",
        /// The span alone is larger than what can be sent at once.
        TooLarge "too_large",
        /// The output was closed by its reader, or failed.
        Closed "closed",
    }

    /// Things worth counting that balance nothing.
    Event {
        /// A send whose entry another task's took the place of: its time is
        /// that of its exit (counted in the kernel).
        SendEntryLost "send_entry_lost",
        /// A word on bytes to come that the kernel's map had no room for: they
        /// come up in vain.
        SkipRefused "skip_refused",
        /// A head that the parser refused but whose start line reads.
        LenientHead "lenient_head",
        /// A head over 64 KiB.
        HeadTooLong "head_too_long",
        /// A head of which bytes were lost.
        HeadLost "head_lost",
        /// A head cut off by the end of its stream.
        HeadCut "head_cut",
        /// A head given up because too much was held.
        HeadNoRoom "head_no_room",
        /// Bytes that begin no message, where one must begin.
        NotAStart "not_a_start",
        /// A message that began behind a body inside one call was not seen.
        HiddenMessage "hidden_message",
        /// Bytes of a stream that no record brought.
        Gap "gap",
        /// A body whose chunk framing was lost.
        ChunksLost "chunks_lost",
        /// A response whose request was not seen.
        UnaskedResponse "unasked_response",
        /// A connection lost track of which response answers which request.
        Doubt "doubt",
        /// A connection was picked up in the middle.
        PickedUp "picked_up",
        /// A socket was another connection before it was seen to close.
        ReusedSocket "reused_socket",
        /// A connection was forgotten for room.
        ConnectionEvicted "connection_evicted",
        /// A connection was forgotten because nothing happened on it.
        ConnectionIdle "connection_idle",
        /// The kernel side was not told what it may skip: too many waited.
        CommandDropped "command_dropped",
        /// An exchange ended as `bytes lost`; it has its span all the same.
        ExchangeLost "exchange_lost",
        /// An exchange was given up as too old or one too many; likewise.
        Expired "expired",
        /// Several requests in flight could have been the parent.
        AmbiguousParent "ambiguous_parent",
        /// A client's half came when its server's span was out.
        LateHalf "late_half",
        /// A possible parent, or a client's half, was forgotten for room.
        LinkForgotten "link_forgotten",
        /// An exchange was held because its pod was not known yet.
        OwnerAwaited "owner_awaited",
        /// A sampling server gave a service's strategy.
        SamplingPolled "sampling_polled",
        /// A sampling server gave none: the last one stays.
        SamplingFailed "sampling_failed",
        /// A service is sampled as at first, because a sampling server is
        /// asked about too many others.
        SamplingCrowded "sampling_crowded",
        /// A decision about a trace was forgotten before its minute was over,
        /// for room.
        SamplerForgot "sampler_forgot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn check<R: Reason>() {
        let names: HashSet<_> = R::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), R::ALL.len());
        for (n, reason) in R::ALL.iter().enumerate() {
            assert_eq!(reason.index(), n);
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
    }

    #[test]
    fn names_are_unique_and_places_are_right() {
        check::<Lost>();
        check::<Missed>();
        check::<NotSelected>();
        check::<NotSampled>();
        check::<Dropped>();
        check::<Undelivered>();
        check::<Event>();
    }
}
