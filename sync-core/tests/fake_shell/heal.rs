//! The end of chaos: everything is answered until nothing is missing, and all is closed.

use super::*;

impl Shell {
    /// Every relay is honest, empty and quick from here on; whatever was pending ends.
    pub(crate) fn heal(&mut self) {
        for n in 0..3 {
            self.step(Input::Operator(Operator::Resume(url(n))));
        }
        let end = self.now + Duration::from_secs(12 * 3600);
        while self.now < end {
            self.answer_everything();
            if self.is_healed() {
                return;
            }
            let next = self.core.next_deadline().expect("something is due until it is healed");
            self.now = next.at;
            self.step(Input::Tick);
        }
        let stuck: Vec<_> = self.core.relays().map(|(id, _)| self.core.explain(id)).collect();
        panic!("L1: {stuck:#?}");
    }

    fn answer_everything(&mut self) {
        for _ in 0..5000 {
            let Some(conn) = self.conns.values().find_map(|conn| self.pending(conn)) else {
                return;
            };
            match conn {
                Pending::Dial(relay) => self.answer_dial(Some(relay), true),
                Pending::End(relay) => self.close(Some(relay), 0),
                Pending::Flow(relay) => self.stall(Some(relay)),
                Pending::Settle(conn, sub, n) => {
                    self.sub(conn, sub).settled += n;
                    let tally = SettleTally {
                        conn: Some(conn),
                        sub: Some(sub),
                        duplicate: n as u32,
                        ..SettleTally::default()
                    };
                    self.step(Input::Settled(tally));
                }
                Pending::Eose(conn, sub) => self.end_sub(conn, sub, EoseHints::default()),
                Pending::Neg(conn, neg) => {
                    self.conns.get_mut(&conn.relay).expect("it is online").negs.remove(&neg);
                    let (need, outcome) = (Vec::new(), NegOutcome::Done);
                    self.step(Input::Reconciled { conn, neg, need, have: 0, bytes: 9, outcome });
                }
            }
        }
        panic!("L4: it never comes to rest");
    }

    fn pending(&self, conn: &Conn) -> Option<Pending> {
        let relay = conn.id.relay;
        match conn.link {
            Link::Dialing => return Some(Pending::Dial(relay)),
            Link::HungUp => return Some(Pending::End(relay)),
            Link::Online if conn.stalled => return Some(Pending::Flow(relay)),
            Link::Online => {}
        }
        let unsettled = conn.subs.iter().find(|(_, sub)| sub.received > sub.settled);
        if let Some((id, sub)) = unsettled {
            return Some(Pending::Settle(conn.id, *id, sub.received - sub.settled));
        }
        let open = conn.subs.iter().find(|(_, sub)| sub.open && !sub.eose);
        if let Some((id, _)) = open {
            return Some(Pending::Eose(conn.id, *id));
        }
        conn.negs.first().map(|neg| Pending::Neg(conn.id, *neg))
    }

    fn is_healed(&self) -> bool {
        let rest = self.core.relays().all(|(relay, status)| {
            let known = self.core.explain(relay).expect("it is known");
            // What a person accepted is tried again daily only (CONN-9).
            let accepted = known.gaps.iter().any(|(_, gap)| gap.accepted);
            let proven = known.items_proven == known.items_wanted || accepted;
            match known.wanted {
                true => status == RelayStatus::Connected && known.batches == 0 && proven,
                false => status == RelayStatus::Disconnected,
            }
        });
        let next = self.core.next_deadline().map(|next| next.reason);
        rest && !matches!(next, Some(Timer::DiscoveryWindow))
    }

    pub(crate) fn shut_down(&mut self) {
        self.step(Input::Operator(Operator::Shutdown));
        let begun = self.now;
        while !self.ended {
            let next = self.core.next_deadline().expect("L5: a drain is armed");
            self.now = next.at;
            self.step(Input::Tick);
            assert!(self.now.since(begun) <= Duration::from_secs(10), "L5");
        }
        assert_eq!(self.core.next_deadline(), None, "L5");
    }
}

enum Pending {
    Dial(RelayId),
    End(RelayId),
    Flow(RelayId),
    Settle(ConnId, SubId, u64),
    Eose(ConnId, SubId),
    Neg(ConnId, NegId),
}
