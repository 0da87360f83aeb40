use proptest::prelude::*;

use super::*;
use crate::join::LineCounts;
use crate::journal::{
    AdoptionProof, CanaryLimits, CheckpointKind, DoubtReason, Event, LossReason, Verdict,
    VerdictReason,
};
use crate::provider::{Counts, Processing};

fn spooled(number: u32, requests: u32) -> SpooledBatch {
    SpooledBatch {
        number,
        rows: 5,
        requests,
        body_bytes: 100 + u64::from(number),
        first_row: 0,
        last_row: 4,
        file_bytes: 1,
        file_hash: String::new(),
        body_hash: format!("hash {number}"),
    }
}

/// Two batches to send and one without requests.
fn batches() -> Vec<SpooledBatch> {
    vec![spooled(1, 3), spooled(2, 4), spooled(3, 0)]
}

/// The same in row order, so that the batches behind the first one are known.
fn ordered_batches() -> Vec<SpooledBatch> {
    let at = |spooled: SpooledBatch, first_row| SpooledBatch {
        first_row,
        last_row: first_row + 4,
        ..spooled
    };
    batches()
        .into_iter()
        .zip([0, 5, 10])
        .map(|(spooled, first_row)| at(spooled, first_row))
        .collect()
}

const LIMITS: CanaryLimits = CanaryLimits {
    max_error: 0.1,
    max_truncated: 0.1,
    max_refused: 0.1,
    max_invalid: 0.1,
    max_empty: 0.5,
};
const VERDICTS: [Verdict; 5] = [
    Verdict::Passed,
    Verdict::TimedOut,
    Verdict::Stopped,
    Verdict::Overruled,
    Verdict::Rescued,
];

fn now() -> Timestamp {
    "2026-11-23T03:15:00Z".parse().unwrap()
}

fn event(kind: &str, batch: u32, id: u32) -> Event {
    let text = || "words".to_owned();
    let id = BatchId(format!("msgbatch_{id}"));
    let SpooledBatch {
        requests,
        body_bytes: bytes,
        body_hash,
        ..
    } = spooled(batch, if batch == 1 { 3 } else { 4 });
    match kind {
        "added" => Event::Added {
            batch,
            attempt: 2,
            spooled: spooled(batch, 4),
            head: None,
        },
        "intent" => Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            newest_listed: None,
        },
        "refused" => Event::Refused {
            batch,
            status: Some(429),
            kind: text(),
            message: text(),
            retry_at: None,
        },
        "accepted" => Event::Accepted {
            batch,
            id,
            created_at: now(),
        },
        "doubt" => Event::Doubt {
            batch,
            reason: DoubtReason::ProcessEnded,
        },
        "adopted" => Event::Adopted {
            batch,
            id,
            created_at: now(),
            proof: AdoptionProof::HoldsId { custom_id: text() },
        },
        "absent" => Event::Absent {
            batch,
            checked_until: now(),
            by_person: false,
        },
        "withdrawn" => Event::Withdrawn { batch },
        "cancel_asked" => Event::CancelAsked { batch },
        "seen" => Event::Seen {
            batch,
            status: Processing::InProgress,
            counts: Counts::default(),
        },
        "ended" => Event::Ended {
            batch,
            counts: Counts::default(),
            ended_at: None,
        },
        "collected" => Event::Collected {
            batch,
            file: text(),
            file_hash: text(),
            counts: LineCounts::default(),
        },
        "lost" => Event::Lost {
            batch,
            reason: LossReason::ResultsNotFound,
        },
        "not_found" => Event::NotFound { batch },
        "judged" => {
            let BatchId(id) = id;
            let verdict: usize = id.trim_start_matches("msgbatch_").parse().unwrap();
            Event::Judged {
                batch,
                verdict: VERDICTS[verdict % VERDICTS.len()],
                reason: VerdictReason::JournalLost,
            }
        }
        "exported" => Event::Exported {
            path: "out".into(),
            rows: 15,
            by_status: BTreeMap::new(),
            hash: None,
        },
        "held_back" => Event::HeldBack {
            rows: 15,
            by_status: BTreeMap::new(),
        },
        "abandoned" => Event::Abandoned {
            reason: AbandonReason::Requested,
        },
        other => panic!("no event is called {other}"),
    }
}

const KINDS: [&str; 18] = [
    "added",
    "intent",
    "refused",
    "accepted",
    "doubt",
    "adopted",
    "absent",
    "cancel_asked",
    "seen",
    "ended",
    "collected",
    "lost",
    "not_found",
    "withdrawn",
    "exported",
    "held_back",
    "abandoned",
    "judged",
];

fn entries(events: Vec<Event>) -> Vec<JournalEntry> {
    (1..)
        .zip(events)
        .map(|(seq, event)| JournalEntry::new(seq, now(), event))
        .collect()
}

/// `kind batch id`, separated by spaces, one an event.
fn story(text: &str) -> Vec<JournalEntry> {
    let events = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            let mut number = || words.next().map_or(0, |word| word.parse().unwrap());
            let (batch, id) = (number(), number());
            event(kind, batch, id)
        });
    entries(events.collect())
}

fn after(text: &str) -> State {
    State::from_events(&batches(), &[], &story(text)).unwrap()
}

/// What the state is compared with: words for where batches stand, and a table of what may follow
/// what.
#[derive(Debug, Clone)]
struct Model {
    batches: Vec<&'static str>,
    ids: Vec<BatchId>,
    events: u64,
    is_over: bool,
    /// What the checkpoint behind the first batch waits for, where there is one, and its result.
    checkpoint: Option<(&'static str, Option<Verdict>)>,
}

impl Model {
    fn new(checkpoints: &[Checkpoint]) -> Model {
        let checkpoint = checkpoints
            .first()
            .map(|checkpoint| (checkpoint.kind.as_str(), None));
        Model {
            batches: vec!["planned", "planned", "empty"],
            ids: Vec::new(),
            events: 0,
            is_over: false,
            checkpoint,
        }
    }

    /// Whether the checkpoint takes a verdict.
    fn judges(&self, verdict: Verdict) -> bool {
        use Verdict::{Overruled, Passed, Rescued, Stopped, TimedOut};
        let Some((kind, so_far)) = self.checkpoint else {
            return false;
        };
        let is_back = ["collected", "lost", "withdrawn"].contains(&self.batches[0]);
        match (so_far, verdict) {
            (None, Rescued) | (Some(Stopped), Overruled) => true,
            (None | Some(Rescued), Passed | Stopped) => is_back,
            (None | Some(Rescued), TimedOut) => kind == "prime" && !is_back,
            _ => false,
        }
    }

    /// Whether the second batch waits at the checkpoint; the others lie before it, or have nothing
    /// to send.
    fn holds(&self, batch: u32) -> bool {
        let is_shut = |verdict: Option<Verdict>| {
            matches!(verdict, None | Some(Verdict::Stopped | Verdict::Rescued))
        };
        batch == 2 && self.checkpoint.is_some_and(|(_, verdict)| is_shut(verdict))
    }

    /// Where a batch stands after an event; `None` if that cannot happen.
    fn next(from: &str, kind: &str) -> Option<&'static str> {
        Some(match (from, kind) {
            ("planned" | "refused", "intent") => "intended",
            ("intended", "refused") => "refused",
            ("intended", "doubt") => "doubt",
            ("intended" | "doubt", "absent") => "planned",
            ("intended", "accepted")
            | ("intended" | "doubt", "adopted")
            | ("accepted", "seen" | "cancel_asked") => "accepted",
            ("accepted" | "lost", "ended") => "ended",
            ("accepted", "not_found") => "accepted",
            ("ended", "not_found") => "ended",
            ("ended" | "collected", "collected") => "collected",
            ("accepted" | "ended", "lost") => "lost",
            ("planned" | "refused", "withdrawn") => "withdrawn",
            _ => return None,
        })
    }

    fn takes(&mut self, entry: &JournalEntry) -> bool {
        let sends = matches!(
            entry.event,
            Event::Added { .. } | Event::Intent { .. } | Event::Split { .. } | Event::Judged { .. }
        );
        if entry.seq != self.events + 1 || (self.is_over && sends) {
            return false;
        }
        let kind = serde_json::to_value(&entry.event).unwrap()["event"]
            .as_str()
            .unwrap()
            .to_owned();
        match (&entry.event, entry.event.batch()) {
            (Event::Judged { batch, verdict, .. }, _) => {
                if *batch != 1 || !self.judges(*verdict) {
                    return false;
                }
                self.checkpoint = self.checkpoint.map(|(kind, _)| (kind, Some(*verdict)));
            }
            // Whether a checkpoint was open before the journal was lost is not known.
            (Event::Intent { batch, .. }, _)
                if self.holds(*batch)
                    && self
                        .checkpoint
                        .is_some_and(|(_, so_far)| so_far != Some(Verdict::Rescued)) =>
            {
                return false;
            }
            (Event::Added { .. }, Some(batch)) if batch as usize == self.batches.len() + 1 => {
                self.batches.push("planned")
            }
            (_, Some(batch)) => {
                let Some(place) = self.batches.get_mut((batch as usize).wrapping_sub(1)) else {
                    return false;
                };
                let Some(next) = Model::next(place, &kind) else {
                    return false;
                };
                if let Event::Accepted { id, .. } | Event::Adopted { id, .. } = &entry.event {
                    if self.ids.contains(id) {
                        return false;
                    }
                    self.ids.push(id.clone());
                }
                *place = next;
            }
            (event, None) => self.is_over |= matches!(event, Event::Abandoned { .. }),
        }
        self.events += 1;
        true
    }

    fn takes_all(checkpoints: &[Checkpoint], entries: &[JournalEntry]) -> Option<Model> {
        let mut model = Model::new(checkpoints);
        entries
            .iter()
            .all(|entry| model.takes(entry))
            .then_some(model)
    }

    fn left(&self) -> Vec<(u32, Step)> {
        let step = |place: &str| match place {
            "planned" | "refused" => Some(Step::Submit),
            "intended" | "doubt" => Some(Step::Settle),
            "accepted" => Some(Step::Watch),
            "ended" => Some(Step::Collect),
            _ => None,
        };
        let left = (1..)
            .zip(&self.batches)
            .filter_map(|(number, place)| Some((number, step(place)?)));
        left.filter(|(_, step)| !self.is_over || *step != Step::Submit)
            .collect()
    }
}

/// No checkpoint, or one of each kind, and a sequence that can happen: at each step one of the
/// events that may follow.
fn possible() -> impl Strategy<Value = (Vec<Checkpoint>, Vec<JournalEntry>)> {
    let kinds = [
        None,
        Some(CheckpointKind::Prime),
        Some(CheckpointKind::Canary { limits: LIMITS }),
    ];
    let checkpoints = prop::sample::select(kinds.to_vec()).prop_map(|kind| {
        kind.map(|kind| Checkpoint { batch: 1, kind })
            .into_iter()
            .collect()
    });
    (checkpoints, prop::collection::vec(any::<u16>(), 0..45)).prop_map(
        |(checkpoints, choices): (Vec<Checkpoint>, Vec<u16>)| {
            let mut model = Model::new(&checkpoints);
            let mut story = Vec::new();
            for choice in choices {
                let batches = model.batches.len() as u32;
                let mut events: Vec<Event> = (1..=batches + 1)
                    .flat_map(|batch| {
                        KINDS[..14]
                            .iter()
                            .map(move |kind| event(kind, batch, batch + u32::from(choice) % 3))
                    })
                    .collect();
                events.extend(
                    (1..3).flat_map(|batch| {
                        (0..5).map(move |verdict| event("judged", batch, verdict))
                    }),
                );
                events.push(event("exported", 0, 0));
                events.push(event(
                    if choice % 50 == 0 {
                        "abandoned"
                    } else {
                        "held_back"
                    },
                    0,
                    0,
                ));
                let next = events
                    .into_iter()
                    .map(|event| JournalEntry::new(model.events + 1, now(), event));
                let next: Vec<JournalEntry> =
                    next.filter(|entry| model.clone().takes(entry)).collect();
                if let Some(entry) = next.get(usize::from(choice) % next.len().max(1)) {
                    assert!(model.takes(entry));
                    story.push(entry.clone());
                }
            }
            (checkpoints, story)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn says_what_is_left_as_a_plain_model_does((checkpoints, story) in possible()) {
        let state = State::from_events(&ordered_batches(), &checkpoints, &story).unwrap();
        let model = Model::takes_all(&checkpoints, &story).unwrap();
        prop_assert_eq!(state.what_is_left().collect::<Vec<_>>(), model.left());
        prop_assert_eq!(state.is_collected(), model.left().is_empty());
        prop_assert_eq!(state.stage() == Stage::Abandoned, model.is_over);
        prop_assert_eq!(state.events(), story.len() as u64);
        let may_go: Vec<u32> = model.left().iter().filter(|(batch, step)| *step == Step::Submit && !model.holds(*batch)).map(|left| left.0).collect();
        prop_assert_eq!(state.to_send().map(Batch::number).collect::<Vec<_>>(), may_go);
    }

    #[test]
    fn takes_every_beginning_of_what_can_happen((checkpoints, story) in possible(), length in any::<prop::sample::Index>()) {
        let beginning = &story[..length.index(story.len() + 1)];
        prop_assert!(State::from_events(&ordered_batches(), &checkpoints, beginning).is_ok());
    }

    #[test]
    fn judges_damaged_sequences_as_a_plain_model_does(
        (checkpoints, story) in possible(),
        place in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        damage in 0..5,
        renumbered: bool,
    ) {
        prop_assume!(!story.is_empty());
        let mut story = story;
        let (place, other) = (place.index(story.len()), other.index(story.len()));
        match damage {
            0 => drop(story.remove(place)),
            1 => story.insert(place, story[other].clone()),
            2 => story.swap(place, other),
            3 => story[place] = JournalEntry::new(story[place].seq, now(), event(KINDS[other % KINDS.len()], place as u32 % 5, other as u32)),
            _ => story.truncate(place),
        }
        if renumbered {
            story = entries(story.into_iter().map(|entry| entry.event).collect());
        }
        prop_assert_eq!(State::from_events(&ordered_batches(), &checkpoints, &story).is_ok(), Model::takes_all(&checkpoints, &story).is_some());
    }
}

#[test]
fn leaves_the_state_alone_when_an_event_is_impossible() {
    let mut state = after("intent 1\naccepted 1 7");
    let before = state.clone();
    for event in [
        event("accepted", 1, 8),
        event("intent", 1, 0),
        event("collected", 1, 0),
        event("added", 9, 0),
    ] {
        state
            .apply(&JournalEntry::new(3, now(), event))
            .unwrap_err();
        assert_eq!(state, before);
    }
}

#[test]
fn names_the_line_and_the_reason() {
    let cases = [
        (
            "accepted 1 7",
            "line 2 (batch 1): it cannot be accepted, since it is planned",
        ),
        (
            "intent 1\nintent 1",
            "line 3 (batch 1): it cannot be sent, since it is in_doubt",
        ),
        (
            "intent 1\ndoubt 1\nintent 1",
            "line 4 (batch 1): it cannot be sent, since it is in_doubt",
        ),
        (
            "intent 1\naccepted 1 7\naccepted 1 8",
            "line 4 (batch 1): it cannot be accepted, since it is in_flight",
        ),
        (
            "intent 1\naccepted 1 7\nintent 2\naccepted 2 7",
            "line 5 (batch 2): the id `msgbatch_7` is that of batch 1",
        ),
        (
            "intent 1\naccepted 1 7\ncollected 1",
            "line 4 (batch 1): it cannot be collected, since it is in_flight",
        ),
        (
            "intent 3",
            "line 2 (batch 3): it cannot be sent, since it is empty",
        ),
        ("intent 4", "line 2 (batch 4): the run has 3 batches"),
        ("seen 0", "line 2 (batch 0): the run has 3 batches"),
        ("added 5", "line 2 (batch 5): the next new batch is 4"),
        (
            "abandoned\nintent 1",
            "line 3 (batch 1): the run was abandoned before",
        ),
        (
            "intent 1\nrefused 1\nabandoned\nadded 4",
            "line 5 (batch 4): the run was abandoned before",
        ),
    ];
    for (text, expected) in cases {
        let impossible = State::from_events(&batches(), &[], &story(text)).unwrap_err();
        assert_eq!(impossible.to_string(), expected, "{text}");
    }
    let mut gap = story("intent 1\naccepted 1 7");
    gap[1].seq = 3;
    assert_eq!(
        State::from_events(&batches(), &[], &gap)
            .unwrap_err()
            .to_string(),
        "line 4 (batch 1): event 3 follows event 1"
    );
    let mut other_body = story("intent 1");
    if let Event::Intent { body_hash, .. } = &mut other_body[0].event {
        body_hash.push('x');
    }
    let impossible = State::from_events(&batches(), &[], &other_body).unwrap_err();
    assert_eq!(
        impossible.to_string(),
        "line 2 (batch 1): its body is not the planned one"
    );
}

#[test]
fn says_where_the_run_stands() {
    let sent = "intent 1\naccepted 1 7\nintent 2\naccepted 2 8";
    let here = format!("{sent}\nended 1\ncollected 1\nended 2\ncollected 2");
    let cases = [
        (String::new(), Stage::Planned),
        ("intent 1".to_owned(), Stage::InDoubt),
        ("intent 1\nrefused 1".to_owned(), Stage::Submitting),
        ("intent 1\ndoubt 1\nabsent 1".to_owned(), Stage::Submitting),
        ("intent 1\naccepted 1 7".to_owned(), Stage::Submitting),
        (sent.to_owned(), Stage::InFlight),
        (format!("{sent}\nended 1\nlost 2"), Stage::Ended),
        (
            "intent 1\naccepted 1 7\nwithdrawn 2".to_owned(),
            Stage::InFlight,
        ),
        (here.clone(), Stage::Collected),
        (format!("{here}\nheld_back"), Stage::HeldBack),
        (format!("{here}\nexported"), Stage::Exported),
        (format!("{here}\nexported\ncollected 1"), Stage::Collected),
        (format!("{here}\nexported\nadded 4"), Stage::Submitting),
        (format!("{here}\nabandoned"), Stage::Abandoned),
        (
            format!("{sent}\nabandoned\nended 1\ncollected 1\nexported"),
            Stage::Abandoned,
        ),
    ];
    for (text, stage) in cases {
        let state = after(&text);
        assert_eq!(state.stage(), stage, "{text}");
        assert_eq!(
            state.is_finished(),
            matches!(stage, Stage::Exported | Stage::Abandoned),
            "{text}"
        );
    }
}

#[test]
fn puts_the_requests_of_a_split_batch_into_new_ones() {
    let refused = after("intent 2\nrefused 2");
    let split =
        |into: Vec<SpooledBatch>| JournalEntry::new(3, now(), Event::Split { batch: 2, into });
    for (into, reason) in [
        (
            vec![spooled(4, 4)],
            "it is split in 1, and the next new batch is 4",
        ),
        (
            vec![spooled(4, 2), spooled(6, 2)],
            "it is split in 2, and the next new batch is 4",
        ),
        (
            vec![spooled(4, 2), spooled(5, 1)],
            "its 4 requests became 3",
        ),
    ] {
        let mut state = refused.clone();
        assert_eq!(state.apply(&split(into)).unwrap_err().reason, reason);
        assert_eq!(state, refused);
    }
    let mut state = refused;
    state
        .apply(&split(vec![spooled(4, 1), spooled(5, 3)]))
        .unwrap();
    assert_eq!(
        state.batch(2).unwrap().state,
        BatchState::Split { into: vec![4, 5] }
    );
    assert_eq!(
        state
            .left_to(Step::Submit)
            .map(Batch::number)
            .collect::<Vec<_>>(),
        [1, 4, 5]
    );
    assert!(state.batches()[3..].iter().all(|batch| batch.attempt == 1));
    // A batch that was not sent may be split too, for the budget; one that may exist may not.
    let parts = || Event::Split {
        batch: 2,
        into: vec![spooled(4, 1), spooled(5, 3)],
    };
    let mut planned = after("");
    planned
        .apply(&JournalEntry::new(1, now(), parts()))
        .unwrap();
    let mut intended = after("intent 2");
    let split = JournalEntry::new(2, now(), parts());
    assert!(intended.apply(&split).is_err());
}

#[test]
fn knows_before_when_no_lost_batch_can_have_been_made() {
    let at = |minute: i64| now() + jiff::SignedDuration::from_mins(minute);
    let intent = |batch, newest_listed| match event("intent", batch, 0) {
        Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            ..
        } => Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            newest_listed,
        },
        other => other,
    };
    let state = |events| State::from_events(&batches(), &[], &entries(events)).unwrap();
    let first = state(vec![intent(1, Some(at(-90)))]);
    assert_eq!(first.batch(1).unwrap().not_before, Some(at(-90)));
    let made = Event::Accepted {
        batch: 1,
        id: BatchId("a".to_owned()),
        created_at: at(-60),
    };
    let second = state(vec![intent(1, Some(at(-90))), made, intent(2, None)]);
    assert_eq!(
        second.batch(2).unwrap().not_before,
        Some(at(-60)),
        "the batch before it is older"
    );
    let again = state(vec![
        intent(1, Some(at(-90))),
        event("doubt", 1, 0),
        event("absent", 1, 0),
        intent(1, Some(at(5))),
    ]);
    assert_eq!(
        again.batch(1).unwrap().not_before,
        Some(at(-90)),
        "the first call counts"
    );
    assert_eq!(
        state(vec![intent(1, None)]).batch(1).unwrap().not_before,
        None
    );
}

#[test]
fn keeps_what_later_steps_need() {
    let state = after(
        "intent 1\ndoubt 1\nadopted 1 7\ncancel_asked 1\nseen 1\nintent 2\nrefused 2\nintent 2",
    );
    let [first, second, _] = state.batches() else {
        panic!("three batches")
    };
    assert_eq!(
        first.remote,
        Some(ProviderBatch {
            id: BatchId("msgbatch_7".to_owned()),
            created_at: now(),
            known_since: now(),
            sent_at: now()
        })
    );
    assert_eq!(first.state, BatchState::Accepted);
    assert!(state.is_canceled());
    assert_eq!(
        (second.intents, &second.state),
        (2, &BatchState::Intended { at: now() })
    );
    assert_eq!(state.batch_of(&BatchId("msgbatch_7".to_owned())), Some(1));
    assert_eq!(state.requests_in_flight(), 7);
    assert_eq!(
        state
            .left_to(Step::Settle)
            .map(Batch::number)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn holds_what_lies_behind_a_checkpoint_until_it_is_judged() {
    let batches: Vec<SpooledBatch> = (1..)
        .zip([1, 3, 4])
        .map(|(number, requests)| spooled(number, requests))
        .collect();
    let rows = [(0, 2), (3, 6), (7, 11)];
    let batches: Vec<SpooledBatch> = batches
        .into_iter()
        .zip(rows)
        .map(|(spooled, (first_row, last_row))| SpooledBatch {
            first_row,
            last_row,
            ..spooled
        })
        .collect();
    let checkpoints = [
        Checkpoint {
            batch: 1,
            kind: CheckpointKind::Prime,
        },
        Checkpoint {
            batch: 2,
            kind: CheckpointKind::Canary { limits: LIMITS },
        },
    ];
    let intent = |batch: u32| {
        let SpooledBatch {
            requests,
            body_bytes: bytes,
            body_hash,
            ..
        } = batches[batch as usize - 1].clone();
        Event::Intent {
            batch,
            requests,
            bytes,
            body_hash,
            newest_listed: None,
        }
    };
    let sent = |batch| {
        [
            intent(batch),
            event("accepted", batch, batch),
            event("ended", batch, 0),
            event("collected", batch, 0),
        ]
    };
    let judged = |batch, verdict| Event::Judged {
        batch,
        verdict,
        reason: VerdictReason::NoResult,
    };
    let state =
        |events: &[Event]| State::from_events(&batches, &checkpoints, &entries(events.to_vec()));
    let next = |events: &[Event]| {
        state(events)
            .unwrap()
            .to_send()
            .map(Batch::number)
            .collect::<Vec<_>>()
    };
    let refused = |events: &[Event]| state(events).unwrap_err().reason;

    assert_eq!(next(&[]), [1]);
    assert_eq!(
        refused(&[intent(2)]),
        "it cannot be sent before batch 1 is judged"
    );
    let mut story = sent(1).to_vec();
    assert_eq!(next(&story), Vec::<u32>::new());
    assert_eq!(
        state(&story)
            .unwrap()
            .next_checkpoint()
            .map(|checkpoint| checkpoint.checkpoint.batch),
        Some(1)
    );
    assert_eq!(
        refused(&[&story[..3], &[judged(1, Verdict::Passed)]].concat()),
        "it cannot be judged `passed`"
    );
    assert_eq!(
        refused(&[&story[..], &[judged(2, Verdict::Passed)]].concat()),
        "it cannot be judged `passed`"
    );
    assert_eq!(
        refused(&[&story[..], &[judged(3, Verdict::Passed)]].concat()),
        "nothing waits for it"
    );
    story.push(judged(1, Verdict::Passed));
    assert_eq!(next(&story), [2]);
    assert_eq!(
        refused(&[&story[..], &[intent(3)]].concat()),
        "it cannot be sent before batch 2 is judged"
    );
    story.extend(sent(2));
    assert_eq!(
        refused(&[&story[..], &[judged(2, Verdict::TimedOut)]].concat()),
        "it cannot be judged `timed_out`"
    );
    story.push(judged(2, Verdict::Stopped));
    let stopped = state(&story).unwrap();
    assert_eq!(
        (stopped.stage(), stopped.is_stopped(), next(&story)),
        (Stage::Stopped, true, vec![])
    );
    assert_eq!(
        state(&[&story[..], &[event("withdrawn", 3, 0)]].concat())
            .unwrap()
            .stage(),
        Stage::Collected
    );
    story.push(judged(2, Verdict::Overruled));
    assert_eq!(
        (next(&story), state(&story).unwrap().stage()),
        (vec![3], Stage::Submitting)
    );
    // What leads is judged by itself: a priming request that is late holds up no canary that is
    // back.
    let mut late = vec![
        intent(1),
        event("accepted", 1, 1),
        judged(1, Verdict::TimedOut),
    ];
    assert_eq!(next(&late), [2]);
    late.extend(sent(2));
    late.push(judged(2, Verdict::Passed));
    assert_eq!(next(&late), [3]);
}
