//! Where the time of an answer goes: marks taken as things happen, told as a waterfall since the caller stopped.

use domain::Latency;

use crate::Ms;

/// The caller's side of the clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    began: Option<Ms>,
    stopped: Option<Ms>,
    /// The last final.
    pub(super) stt_final: Option<Ms>,
    /// The last decision that the caller had finished.
    pub(super) committed: Option<Ms>,
}

impl Clock {
    pub(super) fn on(&mut self, at: Ms) {
        self.began.get_or_insert(at);
    }

    pub(super) fn off(&mut self, at: Ms) {
        self.stopped = Some(at);
    }

    pub(super) fn key(&mut self, at: Ms) {
        self.began.get_or_insert(at);
        self.stopped = Some(at);
    }

    /// The turn is over; tells where it began and ended on the caller's audio.
    pub(super) fn commit(&mut self, now: Ms, _again: bool) -> (Ms, Ms) {
        self.committed = Some(now);
        self.take_caller(now)
    }

    /// Begin and end of what the caller said last, which is told once.
    pub(super) fn take_caller(&mut self, now: Ms) -> (Ms, Ms) {
        let end = self.stopped.unwrap_or(now).min(now);
        (self.began.take().unwrap_or(end).min(end), end)
    }

    /// The brain is asked now.
    pub(super) fn asked(&self, now: Ms, eager: bool) -> Marks {
        Marks { stopped: self.stopped, stt_final: self.stt_final, asked: Some(now), eager, ..Marks::default() }
    }
}

/// Marks of one generation, in ms since answer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    stopped: Option<Ms>,
    stt_final: Option<Ms>,
    asked: Option<Ms>,
    eager: bool,
    /// The turn was decided to be over.
    pub(super) committed: Option<Ms>,
    token: Option<Ms>,
    sentence: Option<Ms>,
    voice: Option<Ms>,
    /// The line began to send it.
    pub(super) first_rtp: Option<Ms>,
}

impl Marks {
    /// The first token; false when it is not the first.
    pub(super) fn token(&mut self, now: Ms) -> bool {
        self.token.replace(self.token.unwrap_or(now)).is_none()
    }

    pub(super) fn sentence(&mut self, now: Ms) {
        self.sentence.get_or_insert(now);
    }

    pub(super) fn voice(&mut self, now: Ms) {
        self.voice.get_or_insert(now);
    }

    /// All marks since the caller stopped; nothing for speech that answers nobody.
    pub(super) fn waterfall(&self) -> Option<Latency> {
        let stopped = self.stopped? as i64;
        let since = |mark: Option<Ms>| mark.map(|mark| mark as i64 - stopped);
        let (asked, decided) = (self.asked?, self.committed.unwrap_or(self.asked?));
        // Before the turn was decided nobody waited; after it the wait was for whoever had to deliver next.
        let vendor = self.voice.unwrap_or(decided).saturating_sub(decided.max(asked)) as i64;
        let (end_of_turn, first_rtp) = (since(Some(decided)), since(self.first_rtp));
        Some(Latency {
            caller_stopped_ms: Some(stopped),
            end_of_turn_ms: end_of_turn,
            stt_final_ms: since(self.stt_final.filter(|mark| *mark as i64 >= stopped)),
            llm_request_ms: since(self.asked),
            llm_first_token_ms: since(self.token),
            first_sentence_ms: since(self.sentence),
            tts_first_byte_ms: since(self.voice),
            first_rtp_ms: first_rtp,
            voice_to_voice_ms: first_rtp,
            vendor_ms: Some(vendor),
            own_overhead_ms: first_rtp.zip(end_of_turn).map(|(rtp, end)| rtp - end - vendor),
            eager: self.eager,
            ..Latency::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_answer_has_waited_for_nobody() {
        let mut clock = Clock::default();
        clock.on(1000);
        clock.off(2000);
        clock.stt_final = Some(2150);
        let mut marks = clock.asked(2150, true);
        assert!(marks.token(2160));
        assert!(!marks.token(2170));
        marks.sentence(2160);
        marks.voice(2200);
        assert_eq!(clock.commit(2360, false), (1000, 2000));
        marks.committed = clock.committed;
        marks.first_rtp = Some(2370);
        let told = marks.waterfall().unwrap();
        assert_eq!((told.end_of_turn_ms, told.vendor_ms, told.own_overhead_ms), (Some(360), Some(0), Some(10)));
        assert_eq!((told.stt_final_ms, told.voice_to_voice_ms), (Some(150), Some(370)));
    }

    #[test]
    fn speech_that_answers_nobody_has_no_waterfall() {
        assert!(Marks::default().waterfall().is_none());
    }
}
