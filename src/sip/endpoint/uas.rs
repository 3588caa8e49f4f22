//! Requests of the peers (RFC 3261 §8.2, §9.2, §12.2.2, §13.3, §15.1.2).

use std::sync::Arc;

use rsip::{Method, StatusCode};
use tracing::debug;

use super::super::dialog::{Dialog, DialogId, DialogKey, Pending};
use super::super::flow::Flow;
use super::super::message::Request;
use super::super::session_timer::SessionInterval;
use super::super::transaction::{ServerTransaction, TransactionKey};
use super::checks::{ACCEPT, ALLOW, SUPPORTED, carries_sdp, check};
use super::reply::{Answer, Reply};
use super::{Availability, Endpoint, Event};
use crate::model::{EndReason, MonoTime};

/// A request of a peer whose transaction lives.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) transaction: ServerTransaction,
    pub(super) reply: Reply,
    /// None: it is no first one outside of dialogs, so nothing can be another copy of it.
    pub(super) merge: Option<Arc<MergeId>>,
}

/// Two requests outside of dialogs that agree in this are the same one, come by two ways (RFC 3261 §8.2.2.2).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MergeId {
    /// Its name.
    method: String,
    from_tag: Option<String>,
    call_id: String,
    cseq: u32,
}

/// When a peer may try again whom the box turned away for want of space, in seconds.
const RETRY_AFTER_S: &str = "10";

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: MonoTime, flow: Flow, request: Request) {
        debug!(peer = %flow.remote, method = %request.method, call_id = request.call_id, "request");
        self.counters.request(request.method);
        let key = TransactionKey::of_request(&request);
        if request.method == Method::Ack {
            return self.handle_ack(now, key, request);
        }
        if let Some(served) = self.served.get(&key) {
            self.counters.repeated += 1;
            let (flow, answer) = (served.reply.path.flow, served.transaction.retransmitted().map(<[u8]>::to_vec));
            return answer.into_iter().for_each(|bytes| self.resend(flow, bytes));
        }
        let reply = Reply::new(&request.via, &request.headers, flow, self.tokens.tag());
        let shares = if request.to.tag().is_some() { 2 } else { 1 };
        if self.served.len() >= self.config.max_transactions.saturating_mul(shares) {
            return self.answer_statelessly(reply, &full("Too many requests at once"));
        }
        let merge = MergeId::of(&request).map(Arc::new);
        let is_merged = merge.as_ref().is_some_and(|merge| !self.merges.insert(merge.clone()));
        self.serve(now, key.clone(), &request, reply, merge.filter(|_| !is_merged));
        let outcome = match is_merged {
            true => Err(Answer::new(StatusCode::LoopDetected)),
            false => check(&request).and_then(|()| self.dispatch(now, &key, flow, request)),
        };
        if let Err(answer) = outcome {
            self.answer(now, &key, &answer);
        }
    }

    /// Sends the final answer to a request; gives its bytes back. None when there is no such request, or it has its answer.
    pub(super) fn answer(&mut self, now: MonoTime, key: &TransactionKey, answer: &Answer) -> Option<Vec<u8>> {
        let served = self.served.get_mut(key).filter(|served| !served.transaction.is_answered())?;
        let flow = served.reply.path.flow;
        let bytes = served.reply.spend(answer, &self.config.user_agent);
        served.transaction.answer(now, answer.is_success(), bytes.clone());
        self.counters.response(answer.status.code());
        self.watch_served(key.clone());
        self.send(flow, bytes.clone());
        Some(bytes)
    }

    fn serve(&mut self, now: MonoTime, key: TransactionKey, request: &Request, reply: Reply, merge: Option<Arc<MergeId>>) {
        let (timing, reliable) = (self.config.timing, reply.path.flow.transport.is_reliable());
        let transaction = match request.method {
            Method::Invite => ServerTransaction::invite(now, timing, reliable, reply.trying()),
            _ => ServerTransaction::other(timing, reliable),
        };
        self.served.insert(key.clone(), Box::new(Served { transaction, reply, merge }));
        self.watch_served(key);
    }

    /// Forgets a request.
    pub(super) fn forget_request(&mut self, key: &TransactionKey) {
        if let Some(merge) = self.served.remove(key).and_then(|served| served.merge) {
            self.merges.remove(&merge);
        }
    }

    /// `Err` is the answer the request gets; after `Ok` it has one, or the application will give it.
    fn dispatch(&mut self, now: MonoTime, key: &TransactionKey, flow: Flow, request: Request) -> Result<(), Answer> {
        match (request.method, request.to.tag()) {
            (Method::Cancel, _) => self.cancel(now, key),
            (_, Some(_)) => self.in_dialog(now, key, request),
            (Method::Invite, None) => self.new_call(key, flow, request),
            (Method::Options, None) => Err(self.options()),
            _ => Err(Answer::new(StatusCode::CallTransactionDoesNotExist)),
        }
    }

    fn options(&self) -> Answer {
        match &self.availability {
            Availability::Available => Answer::new(StatusCode::OK)
                .header("Allow", ALLOW)
                .header("Accept", ACCEPT)
                .header("Accept-Encoding", "identity")
                .header("Supported", SUPPORTED),
            Availability::Unavailable { reason, retry_after_s } => {
                Answer::new(StatusCode::ServiceUnavailable).because(reason).header("Retry-After", retry_after_s.to_string())
            }
        }
    }

    fn new_call(&mut self, key: &TransactionKey, flow: Flow, request: Request) -> Result<(), Answer> {
        if self.dialogs.len() >= self.config.max_dialogs {
            return Err(full("Too many calls"));
        }
        // A sender of the days of RFC 2543 has none: it is reached by its From.
        let target = request.contact().map_or_else(|| request.from.uri.clone(), |contact| contact.uri);
        let pending = Pending { initial: true, ..self.pending(key, &request)? };
        let reply = &self.served.get(key).ok_or_else(gone)?.reply;
        let tag = reply.tag.clone().unwrap_or_default();
        let dialog = Dialog::new(&request, pending, target, reply.tagged_to(), tag, reply.path);
        let id = self.adopt(dialog);
        debug!(peer = %flow.remote, call_id = request.call_id, dialog = id.0, "new dialog");
        self.events.push_back(Event::Invite { dialog: id, request });
        Ok(())
    }

    fn in_dialog(&mut self, now: MonoTime, key: &TransactionKey, request: Request) -> Result<(), Answer> {
        let id = self.dialog_ids.get(&DialogKey::of_request(&request)).copied().ok_or_else(gone)?;
        let path = self.served.get(key).ok_or_else(gone)?.reply.path;
        let dialog = self.dialogs.get_mut(&id).ok_or_else(gone)?;
        if !dialog.heard(&request, path) {
            return Err(Answer::new(StatusCode::ServerInternalError).because("CSeq is lower than one before"));
        }
        match request.method {
            Method::Invite | Method::Update => self.renegotiate(id, key, request),
            Method::Bye => {
                self.ended_by_peer(now, id);
                Err(Answer::new(StatusCode::OK))
            }
            Method::Info => {
                self.events.push_back(Event::Info { dialog: id, request });
                Err(Answer::new(StatusCode::OK))
            }
            _ => Err(self.options()),
        }
    }

    fn renegotiate(&mut self, id: DialogId, key: &TransactionKey, request: Request) -> Result<(), Answer> {
        let pending = self.pending(key, &request)?;
        let dialog = self.dialogs.get_mut(&id).filter(|dialog| dialog.hangup.is_none()).ok_or_else(gone)?;
        if dialog.pending.is_some() {
            // RFC 3261 §14.2: 0 to 10 seconds, by chance.
            let wait_s = self.tokens.below(11).to_string();
            return Err(Answer::new(StatusCode::ServerInternalError)
                .because("Another one is pending")
                .header("Retry-After", wait_s));
        }
        if dialog.is_offering() {
            return Err(Answer::new(StatusCode::RequestPending));
        }
        dialog.pending = Some(Box::new(pending));
        self.events.push_back(Event::Reinvite { dialog: id, request });
        Ok(())
    }

    fn pending(&self, key: &TransactionKey, request: &Request) -> Result<Pending, Answer> {
        let policy = self.config.session_timer;
        let interval = SessionInterval::answer(&request.headers, policy)
            .map_err(|_| Answer::new(StatusCode::SessionIntervalTooSmall).header("Min-SE", policy.min_se_s.to_string()))?;
        Ok(Pending {
            key: key.clone(),
            method: request.method,
            cseq: request.cseq.number,
            initial: false,
            offered: carries_sdp(request),
            interval,
            target: request.contact().map(|contact| contact.uri),
        })
    }

    /// RFC 3261 §15.1.2: what was still to be answered gets a 487.
    fn ended_by_peer(&mut self, now: MonoTime, id: DialogId) {
        if let Some(pending) = self.dialogs.get_mut(&id).and_then(|dialog| dialog.pending.take()) {
            self.answer(now, &pending.key, &Answer::new(StatusCode::RequestTerminated));
        }
        self.end(id, EndReason::Bye);
    }

    fn cancel(&mut self, now: MonoTime, key: &TransactionKey) -> Result<(), Answer> {
        let invite = key.of_cancelled();
        let (tag, is_answered) =
            self.served.get(&invite).map(|s| (s.reply.tag.clone(), s.transaction.is_answered())).ok_or_else(gone)?;
        if let Some(served) = self.served.get_mut(key) {
            served.reply.tag = tag; // RFC 3261 §9.2: the same one in both answers
        }
        self.answer(now, key, &Answer::new(StatusCode::OK));
        if is_answered {
            return Ok(());
        }
        self.answer(now, &invite, &Answer::new(StatusCode::RequestTerminated));
        let means = |dialog: &Dialog| dialog.pending.as_ref().is_some_and(|pending| pending.key == invite);
        let Some((&id, dialog)) = self.dialogs.iter_mut().find(|(_, dialog)| means(dialog)) else { return Ok(()) };
        if dialog.pending.take().is_some_and(|pending| pending.initial) {
            self.forget(id);
            self.events.push_back(Event::Cancelled { dialog: id });
        }
        Ok(())
    }

    /// An ACK ends the repetition of an error in its transaction, that of a 2xx in its dialog.
    fn handle_ack(&mut self, now: MonoTime, key: TransactionKey, request: Request) {
        if self.served.get_mut(&key).is_some_and(|served| served.transaction.acknowledged(now)) {
            return self.watch_served(key);
        }
        let Some(&id) = self.dialog_ids.get(&DialogKey::of_request(&request)) else { return };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let Some(ok) = dialog.unacknowledged.take_if(|ok| ok.cseq == request.cseq.number) else { return };
        if let Some(reason) = dialog.hangup.take() {
            return self.hang_up(now, id, &reason);
        }
        if ok.offers {
            self.events.push_back(Event::Answered { dialog: id, request });
        }
        self.watch_dialog(id);
    }
}

impl MergeId {
    /// None for one within a dialog, and for a CANCEL, which has the numbers of what it cancels.
    fn of(request: &Request) -> Option<MergeId> {
        let is_first = request.to.tag().is_none() && request.method != Method::Cancel;
        is_first.then(|| MergeId {
            method: request.method.to_string(),
            from_tag: request.from.tag().map(str::to_owned),
            call_id: request.call_id.clone(),
            cseq: request.cseq.number,
        })
    }
}

fn gone() -> Answer {
    Answer::new(StatusCode::CallTransactionDoesNotExist)
}

fn full(reason: &str) -> Answer {
    Answer::new(StatusCode::ServiceUnavailable).because(reason).header("Retry-After", RETRY_AFTER_S)
}
