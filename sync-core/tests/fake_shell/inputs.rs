//! What happens: dials, frames, tallies, facts, operators, time; plausible and in any order.

use super::*;

impl Shell {
    pub(crate) fn apply(&mut self, op: Op) {
        let relays: Vec<RelayId> = self.conns.keys().copied().collect();
        let relay = pick(&relays, op.a);
        match op.kind {
            0..=2 => self.answer_dial(relay, op.kind != 2),
            3 => self.close(relay, op.b),
            4..=7 => self.receive(relay, op.b, op.c),
            8..=9 => self.settle(relay, op.b, op.c),
            10..=12 => self.eose(relay, op.b, op.c),
            13 => self.closed(relay, op.b, op.c),
            14 => self.notice(relay, op.b),
            15..=16 => self.reconcile(relay, op.b, op.c),
            17 => self.tick(),
            18..=19 => self.advance(op.b, op.c),
            20..=21 => self.facts(op.a, op.b, op.c),
            22 => self.operate(op.b, op.c),
            23 => self.stall(relay),
            24 => self.stale(relay, op.b),
            _ => self.inform(relay, op.b),
        }
    }

    fn conn(&self, relay: Option<RelayId>, link: Link) -> Option<&Conn> {
        relay.and_then(|relay| self.conns.get(&relay)).filter(|conn| conn.link == link)
    }

    pub(super) fn answer_dial(&mut self, relay: Option<RelayId>, ok: bool) {
        let Some(conn) = self.conn(relay, Link::Dialing).map(|conn| conn.id) else { return };
        let detail = RelayText::default();
        let result = match ok {
            true => Ok(()),
            false => Err(DialError { kind: DialErrorKind::Refused, detail }),
        };
        match ok {
            true => self.conns.get_mut(&conn.relay).expect("it dials").link = Link::Online,
            false => {
                self.conns.remove(&conn.relay);
            }
        }
        self.step(Input::Dialed { conn, result });
    }

    pub(super) fn close(&mut self, relay: Option<RelayId>, n: u16) {
        let Some(conn) = relay.and_then(|relay| self.conns.get(&relay)).map(|conn| conn.id) else {
            return;
        };
        let hung_up = self.conns.remove(&conn.relay).is_some_and(|old| old.link == Link::HungUp);
        let reason = match (hung_up, n % 3) {
            (true, _) => CloseReason::Local,
            (false, 0) => CloseReason::Remote(RelayText::default()),
            (false, 1) => CloseReason::Silence,
            (false, _) => CloseReason::Io(RelayText::new("reset")),
        };
        self.step(Input::Closed { conn, reason });
    }

    fn some_sub(&self, relay: Option<RelayId>, n: u16) -> Option<(ConnId, SubId)> {
        let conn = self.conn(relay, Link::Online)?;
        let open: Vec<SubId> =
            conn.subs.iter().filter(|(_, sub)| sub.open).map(|(id, _)| *id).collect();
        Some((conn.id, pick(&open, n)?))
    }

    fn receive(&mut self, relay: Option<RelayId>, n: u16, count: u16) {
        let Some((conn, id)) = self.some_sub(relay, n) else { return };
        let received = u32::from(count % 30);
        let sub = self.sub(conn, id);
        let oversize = u32::from(count % 61 == 60);
        sub.received += u64::from(received);
        if !sub.live || !sub.eose {
            sub.historic += u64::from(received);
        }
        let tally = EventTally {
            conn: Some(conn),
            sub: Some(id),
            received,
            oversize,
            ..EventTally::default()
        };
        self.step(Input::Events(tally));
    }

    pub(super) fn sub(&mut self, conn: ConnId, id: SubId) -> &mut Sub {
        let conn = self.conns.get_mut(&conn.relay).expect("it is online");
        conn.subs.get_mut(&id).expect("it was opened")
    }

    /// Facts and a tally of a part, or all, of what a subscription received.
    fn settle(&mut self, relay: Option<RelayId>, n: u16, how: u16) {
        let Some(conn) = self.conn(relay, Link::Online) else { return };
        let due: Vec<SubId> = conn
            .subs
            .iter()
            .filter(|(_, sub)| sub.received > sub.settled)
            .map(|(id, _)| *id)
            .collect();
        let (conn, Some(id)) = (conn.id, pick(&due, n)) else { return };
        let sub = self.sub(conn, id);
        let open = (sub.received - sub.settled) as u32;
        let total = if how.is_multiple_of(2) { open } else { open.div_ceil(2) };
        sub.settled += u64::from(total);
        if how.is_multiple_of(5) {
            let from = FactSource::Stored { conn, sub: id };
            let facts = vec![self.fact(how, n, how / 7)];
            self.step(Input::Facts { from, facts });
        }
        let failed = if how.is_multiple_of(23) { 1.min(total) } else { 0 };
        let tally = SettleTally {
            conn: Some(conn),
            sub: Some(id),
            stored: total - failed,
            failed,
            ids: if how.is_multiple_of(3) { vec![event_id(how)] } else { Vec::new() },
            gap_events: u32::from(how.is_multiple_of(31)),
            ..SettleTally::default()
        };
        self.step(Input::Settled(tally));
    }

    fn eose(&mut self, relay: Option<RelayId>, n: u16, how: u16) {
        if how.is_multiple_of(11) {
            // Of a subscription that may not exist, or be closed.
            let Some(conn) = self.conn(relay, Link::Online).map(|conn| conn.id) else { return };
            let used = self.conns[&conn.relay].subs.get(&SubId(u32::from(n % 40)));
            if used.is_none_or(|sub| sub.eose || !sub.open) {
                let sub = SubId(u32::from(n % 40));
                let frame = Frame::Eose { sub, hints: EoseHints::default() };
                return self.step(Input::Frame { conn, frame });
            }
        }
        let Some((conn, id)) = self.some_sub(relay, n) else { return };
        if self.sub(conn, id).page {
            let page = page_of(how);
            let sub = self.sub(conn, id);
            sub.received += u64::from(page.frames);
            sub.historic += u64::from(page.frames);
            let tally = EventTally {
                conn: Some(conn),
                sub: Some(id),
                received: page.frames,
                page: Some(page),
                ..EventTally::default()
            };
            self.step(Input::Events(tally));
        }
        self.end_sub(
            conn,
            id,
            EoseHints { finish: how.is_multiple_of(13), more: how.is_multiple_of(17) },
        );
    }

    pub(super) fn end_sub(&mut self, conn: ConnId, sub: SubId, hints: EoseHints) {
        self.sub(conn, sub).eose = true;
        self.conns.get_mut(&conn.relay).expect("it is online").answers += 1;
        self.step(Input::Frame { conn, frame: Frame::Eose { sub, hints } });
    }

    fn closed(&mut self, relay: Option<RelayId>, n: u16, text: u16) {
        let Some((conn, id)) = self.some_sub(relay, n) else { return };
        self.sub(conn, id).open = false;
        let text = RelayText::new(pick(&CLOSED, text).expect("there are some"));
        self.step(Input::Frame { conn, frame: Frame::Closed { sub: id, text } });
    }

    fn notice(&mut self, relay: Option<RelayId>, n: u16) {
        let Some(conn) = self.conn(relay, Link::Online).map(|conn| conn.id) else { return };
        // The core gives up sessions without a NEG-CLOSE when a NOTICE refuses them.
        let before = self.log.len();
        let text = RelayText::new(pick(&NOTICES, n).expect("there are some"));
        self.step(Input::Frame { conn, frame: Frame::Notice { text } });
        let refused = self.log[before..].iter().any(|command| {
            matches!(command, Command::Emit(Event::NegentropyFallback { relay, .. }) if *relay == conn.relay)
        });
        if refused && let Some(conn) = self.conns.get_mut(&conn.relay) {
            let since: BTreeSet<NegId> = self.log[before..]
                .iter()
                .filter_map(|command| match command {
                    Command::Reconcile { neg, .. } => Some(*neg),
                    _ => None,
                })
                .collect();
            conn.negs.retain(|neg| since.contains(neg));
        }
    }

    fn reconcile(&mut self, relay: Option<RelayId>, n: u16, how: u16) {
        let Some(open) = self.conn(relay, Link::Online) else { return };
        let negs: Vec<NegId> = open.negs.iter().copied().collect();
        let (conn, Some(neg)) = (open.id, pick(&negs, n)) else { return };
        if how.is_multiple_of(7) {
            return self.step(Input::NegRound { conn, neg, round: 1, bytes: 10, need: 0 });
        }
        self.conns.get_mut(&conn.relay).expect("it is online").negs.remove(&neg);
        if how % 7 == 1 {
            let limit = (how.is_multiple_of(2)).then_some(1000);
            let text = RelayText::new(pick(&["blocked: too big", "error: no"], n).expect("two"));
            return self.step(Input::Frame { conn, frame: Frame::NegErr { neg, text, limit } });
        }
        let need = (0..how % 3).map(event_id).collect();
        let at = Timestamp::from_secs;
        let outcome = match how % 7 {
            2 => NegOutcome::Split(vec![Range { since: at(5), until: at(9) }]),
            3 => NegOutcome::Truncated,
            4 => NegOutcome::Garbage,
            _ => NegOutcome::Done,
        };
        self.step(Input::Reconciled { conn, neg, need, have: 0, bytes: 9, outcome });
    }

    /// The ledger, but for the wall time of a cooldown's end, which is rounded to seconds.
    fn durable(&self) -> Vec<LedgerRow> {
        let mut rows = self.core.durable();
        for row in &mut rows {
            if let LedgerRow::Relay(row) = row {
                row.cooldown_until = None;
            }
        }
        rows
    }

    fn tick(&mut self) {
        if let Some(next) = self.core.next_deadline() {
            self.now = next.at;
            self.step(Input::Tick);
        }
    }

    fn advance(&mut self, n: u16, how: u16) {
        let span = match how % 6 {
            0 => Duration::from_secs(u64::from(n) * 3),
            1 => Duration::from_secs(u64::from(n % 100)),
            _ => Duration::from_millis(u64::from(n)),
        };
        let to = self.now + span;
        if let Some(next) = self.core.next_deadline()
            && to < next.at
        {
            // T2: nothing is due.
            let (before, said) = (self.durable(), self.log.len());
            self.now = to;
            self.step(Input::Tick);
            assert_eq!(self.log.len(), said, "T2: {:?}", &self.log[said..]);
            let after = self.durable();
            assert_eq!(before, after, "T2");
            assert_eq!(self.core.next_deadline(), Some(next), "T2");
            return;
        }
        self.now = to;
        self.step(Input::Tick);
    }

    fn fact(&self, a: u16, b: u16, c: u16) -> Fact {
        let relays = (0..=b % 3).map(|n| url(b.wrapping_add(n))).collect();
        match a % 9 {
            0 | 1 => {
                let level =
                    if c.is_multiple_of(3) { SyncLevel::StateOnly } else { SyncLevel::Full };
                Fact::Repo { repo: repo(c), relays, level }
            }
            2 => Fact::RepoGone { repo: repo(c) },
            3 => Fact::Root { id: event_id(b), repos: vec![repo(c)] },
            4 => Fact::Thread { id: event_id(b), root: event_id(c), depth: 1 },
            5 => Fact::ThreadGone { id: event_id(b) },
            6 => Fact::WantId { id: event_id(b), relays, not_before: None },
            7 => Fact::Unproven { items: vec![Item::Layer1, Item::Repo(repo(c))] },
            _ if c.is_multiple_of(4) => Fact::PolicyChanged { revision: u64::from(c) },
            _ => Fact::Git { repo: repo(c), outcome: GitOutcome::Ready },
        }
    }

    fn facts(&mut self, a: u16, b: u16, c: u16) {
        let facts = vec![self.fact(a, b, c), self.fact(c, a, b)];
        self.step(Input::Facts { from: FactSource::Embedder, facts });
    }

    fn operate(&mut self, n: u16, how: u16) {
        let relay = url(n);
        let operator = match how % 9 {
            0 => Operator::Pause(relay),
            1 | 2 => Operator::Resume(relay),
            3 => Operator::Retry(relay),
            4 => Operator::Resync(relay),
            5 => Operator::AcceptGap { relay, gap: None },
            6 => Operator::AddRelay(relay),
            7 => Operator::RemoveRelay(relay),
            _ => Operator::SyncNow,
        };
        self.step(Input::Operator(operator));
    }

    pub(super) fn stall(&mut self, relay: Option<RelayId>) {
        let Some(conn) = self.conn(relay, Link::Online).map(|conn| conn.id) else { return };
        let open = self.conns.get_mut(&conn.relay).expect("it is online");
        open.stalled = !open.stalled;
        let stalled = open.stalled;
        self.step(if stalled { Input::Stalled { conn } } else { Input::Flowing { conn } });
    }

    /// S9: what an old connection says only counts.
    fn stale(&mut self, relay: Option<RelayId>, n: u16) {
        let Some(id) = relay.and_then(|relay| self.conns.get(&relay)).map(|conn| conn.id) else {
            return;
        };
        let conn = ConnId { epoch: id.epoch - 1, ..id };
        let sub = SubId(u32::from(n % 9));
        let input = match n % 4 {
            0 => Input::Dialed { conn, result: Ok(()) },
            1 => Input::Closed { conn, reason: CloseReason::Silence },
            2 => Input::Frame { conn, frame: Frame::Eose { sub, hints: EoseHints::default() } },
            _ => Input::Settled(SettleTally {
                conn: Some(conn),
                sub: Some(sub),
                stored: 3,
                ..SettleTally::default()
            }),
        };
        let (before, said) = (self.core.durable(), self.log.len());
        let next = self.core.next_deadline();
        self.step(input);
        let told = &self.log[said..];
        assert!(matches!(told, [Command::Emit(Event::StaleInput { .. })]), "S9: {told:?}");
        assert_eq!(self.core.durable(), before, "S9");
        assert_eq!(self.core.next_deadline(), next, "S9");
    }

    fn inform(&mut self, relay: Option<RelayId>, n: u16) {
        let Some(conn) = self.conn(relay, Link::Online).map(|conn| conn.id) else { return };
        let limits = InfoLimits {
            max_subscriptions: Some(u32::from(n % 30) + 4),
            negentropy: Some(n.is_multiple_of(2)),
            ..InfoLimits::default()
        };
        let input = match n % 3 {
            0 => Input::RelayInfo { conn, limits, self_key: None },
            1 => {
                let challenge = ChallengeId(u32::from(n));
                Input::Frame { conn, frame: Frame::Auth { challenge } }
            }
            _ => {
                let (id, text) = (event_id(n), RelayText::default());
                Input::Frame { conn, frame: Frame::Ok { id, accepted: true, text } }
            }
        };
        self.step(input);
    }
}

/// A page that a relay might send, or not.
fn page_of(how: u16) -> PageTally {
    let frames = u32::from(how % 25);
    if frames == 0 {
        return PageTally::default();
    }
    let at = Timestamp::from_secs;
    let oldest = u64::from(how % 300) * 7;
    let newest = oldest + u64::from(how % 50);
    PageTally {
        frames,
        malformed: u32::from(how.is_multiple_of(29)),
        distinct: frames,
        oldest: Some(at(oldest)),
        newest: Some(at(newest)),
        middle: Some(at(oldest.midpoint(newest))),
        three_quarters: Some(at(oldest)),
        above_until: u32::from(how.is_multiple_of(37)),
        at_until: u32::from(how % 2),
        known_at_until: u32::from(how % 2),
        new: frames / 2,
        new_at_known_oldest: u32::from(how.is_multiple_of(7)),
        missing_at_known_oldest: u32::from(how.is_multiple_of(5)),
        ..PageTally::default()
    }
}
