//! The catalogue: every family that is exported, with its type, labels and meaning. A family is in
//! it only when something moves it.

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of spans, in seconds.
    Spans,
    /// A distribution of counts.
    Items,
}

impl Kind {
    /// The word of the exposition formats.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Spans | Self::Items => "histogram",
        }
    }
}

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name as scraped.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means; without a full stop, which OpenMetrics readers add.
    pub help: &'static str,
}

/// The family of a name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

macro_rules! families {
    ($($name:literal $kind:ident [$($label:literal)*] $help:literal;)*) => {
        /// Every family, in the order of the exposition.
        pub const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        },)*];
    };
}

families! {
    "ngit_sync_relay_connected" Gauge ["relay"]
        "State of the connection: 0 disconnected, 1 connecting, 2 syncing, 3 connected, 4 connected with partial history";
    "ngit_sync_relay_status" Gauge ["relay"]
        "Health: 1 healthy, 2 disconnected, 3 degraded, 4 dead, 5 rate limited";
    "ngit_sync_relay_failures" Gauge ["relay"] "Consecutive failures";
    "ngit_sync_connection_attempts_total" Counter ["relay" "result"] "Dials by result";
    "ngit_sync_events_synced_total" Counter [] "Newly saved events";
    "ngit_sync_events_total" Counter ["source"] "Newly saved events by source";
    "ngit_sync_gap_events_total" Counter ["relay"]
        "Events saved by catch-up though live sync should have brought them";
    "ngit_sync_relays_tracked_total" Gauge [] "Relays that are known";
    "ngit_sync_relays_connected_total" Gauge [] "Relays with live sync";
    "ngit_sync_relays_dead_total" Gauge [] "Relays that failed for a day";
    "ngit_rejected_hot_cache_current" Gauge ["event_type"] "Rejected events kept whole";
    "ngit_rejected_cold_index_current" Gauge ["event_type"] "Rejected events kept as rows";
    "ngit_rejected_hot_cache_hits_total" Counter ["event_type"]
        "Rejected events whose dependency came while they were kept whole";
    "ngit_rejected_hot_cache_misses_total" Counter ["event_type"]
        "Rejected events whose dependency came when only their row was left";
    "ngit_rejected_hot_cache_expired_total" Counter ["event_type"]
        "Rejected events that are no longer kept whole";
    "ngit_rejected_cold_index_expired_total" Counter ["event_type"]
        "Rejected events whose row was removed by time";
    "ngit_rejected_invalidated_total" Counter ["event_type"]
        "Rejected events whose dependency came";
    "ngit_sync_build_info" Gauge ["version" "commit"] "Always 1; the build is in its labels";
    "ngit_sync_start_time_seconds" Gauge [] "When the process began, Unix time";
    "ngit_sync_phase" Gauge []
        "0 starting, 1 syncing, 2 live, 3 partial, 4 offline, 5 paused, 6 stopping";
    "ngit_sync_phase_entered_timestamp_seconds" Gauge [] "When the phase began, Unix time";
    "ngit_sync_phase_seconds_total" Counter ["phase"] "Time in each phase";
    "ngit_sync_phase_transitions_total" Counter ["from" "to" "reason"] "Changes of the phase";
    "ngit_sync_relay_state_entered_timestamp_seconds" Gauge ["relay"]
        "When the state of the connection began, Unix time";
    "ngit_sync_relay_state_seconds_total" Counter ["relay" "state"]
        "Time in each state of the connection";
    "ngit_sync_relay_transitions_total" Counter ["from" "to" "reason"]
        "Changes of the state of connections, all relays";
    "ngit_sync_relay_health_transitions_total" Counter ["from" "to" "reason"]
        "Changes of health, all relays";
    "ngit_sync_relay_next_retry_timestamp_seconds" Gauge ["relay"]
        "When the relay is dialed next, Unix time";
    "ngit_sync_messages_sent_total" Counter ["relay" "type"] "Messages written";
    "ngit_sync_messages_received_total" Counter ["relay" "type"] "Messages read";
    "ngit_sync_send_failures_total" Counter ["relay"] "Messages that could not be written";
    "ngit_sync_sent_bytes_total" Counter ["relay"] "Payload bytes written";
    "ngit_sync_received_bytes_total" Counter ["relay"] "Payload bytes read";
    "ngit_sync_rate_limited_total" Counter ["relay"] "Requests of the relay to ask less";
    "ngit_sync_subscriptions_active" Gauge ["relay"] "Open subscriptions";
    "ngit_sync_filters_active" Gauge ["relay"] "Filters of open subscriptions";
    "ngit_sync_batches_started_total" Counter ["layer" "method"] "Batches of history begun";
    "ngit_sync_batches_completed_total" Counter ["layer" "method" "result"]
        "Batches of history ended";
    "ngit_sync_batches_pending" Gauge ["layer"] "Batches of history under way";
    "ngit_sync_batch_items" Items ["layer"] "Items of a batch";
    "ngit_sync_historic_syncs_total" Counter ["trigger" "result"] "Passes ended";
    "ngit_sync_historic_syncs_active" Gauge [] "Passes under way";
    "ngit_sync_negentropy_rounds_total" Counter ["relay"] "Rounds of negentropy";
    "ngit_sync_negentropy_ids_total" Counter ["relay" "side"]
        "Ids that negentropy found on one side only";
    "ngit_sync_negentropy_fallbacks_total" Counter ["reason"] "Negentropy given up";
    "ngit_sync_req_pages_total" Counter ["relay"] "Pages asked for";
    "ngit_sync_gaps" Gauge ["relay" "reason"] "Parts of history that are missing and named";
    "ngit_sync_relay_events_total" Counter ["relay" "outcome"] "Received events by outcome";
    "ngit_sync_kind_events_total" Counter ["kind" "outcome"] "Received events by outcome";
    "ngit_sync_rejections_total" Counter ["kind" "reason"] "Events that policy refused";
    "ngit_sync_events_published_total" Counter ["relay" "result"] "Events sent to the own relay";
    "ngit_sync_conflicts_total" Counter ["kind" "resolution"] "Two versions of one address seen";
    "ngit_sync_kind_last_event_timestamp_seconds" Gauge ["kind"]
        "When an event of the kind was last saved, Unix time";
    "ngit_sync_queue_depth" Gauge ["queue"] "Items in a queue";
    "ngit_sync_queue_capacity" Gauge ["queue"] "Items that fit into a queue";
    "ngit_sync_queue_dropped_total" Counter ["queue"] "Items that a queue dropped";
    "ngit_sync_retries_total" Counter ["operation" "result"] "Things tried again";
    "ngit_sync_retry_queue_depth" Gauge ["operation"] "Things that wait to be tried again";
    "ngit_sync_deferred_total" Counter ["reason"] "Work put off because of load";
    "ngit_sync_outbox_depth" Gauge [] "Events that wait for the own relay";
    "ngit_sync_connect_duration_seconds" Spans ["stage"] "Stages of dials";
    "ngit_sync_first_event_duration_seconds" Spans ["method"] "From a request to its first answer";
    "ngit_sync_batch_duration_seconds" Spans ["layer" "method"] "Batches of history";
    "ngit_sync_apply_duration_seconds" Spans ["stage"] "From an event's frame to its commit";
    "ngit_sync_live_delay_seconds" Spans [] "From created_at to the arrival of live events";
    "ngit_sync_store_operation_duration_seconds" Spans ["op"] "Operations of the store";
    "ngit_sync_relay_last_seen_timestamp_seconds" Gauge ["relay"]
        "When the last message came, Unix time";
    "ngit_sync_relay_last_event_timestamp_seconds" Gauge ["relay"]
        "When an event of the relay was last saved, Unix time";
    "ngit_sync_relay_last_sync_timestamp_seconds" Gauge ["relay"]
        "When a pass last finished, Unix time";
    "ngit_sync_relay_rtt_seconds" Gauge ["relay"] "The last round trip of a ping";
    "ngit_sync_store_events" Gauge ["kind"] "Events in the store";
    "ngit_sync_store_size_bytes" Gauge [] "Size of the store on disk";
    "ngit_sync_repositories_tracked" Gauge [] "Repositories that are followed";
    "ngit_sync_root_events_tracked" Gauge []
        "Patches, pull requests and issues that are followed";
    "ngit_sync_errors_total" Counter ["type" "code"] "Errors";
    "ngit_sync_relay_errors_total" Counter ["relay" "type"] "Errors by relay";
    "ngit_sync_last_error_timestamp_seconds" Gauge ["type"]
        "When an error of the type last happened, Unix time";
    "ngit_sync_snapshot_last_success_timestamp_seconds" Gauge []
        "When history was last written, Unix time";
    "ngit_sync_stream_clients" Gauge [] "Clients that read the event stream";
    "ngit_sync_stream_dropped_total" Counter [] "Entries lost to clients that read too slowly";
    "ngit_sync_api_requests_total" Counter ["route" "code"] "Requests to the HTTP interface";
    "ngit_sync_alerts_firing" Gauge ["alert" "severity"]
        "Where an alert fires that the daemon evaluates itself";
    "ngit_sync_label_overflow_total" Counter ["label"]
        "Values that share the label other because there are too many";
    "process_start_time_seconds" Gauge [] "When the process began, Unix time";
    "process_cpu_seconds_total" Counter [] "CPU time";
    "process_resident_memory_bytes" Gauge [] "Resident memory";
    "process_open_fds" Gauge [] "Open file descriptors";
    "process_max_fds" Gauge [] "Limit of open file descriptors";
}
